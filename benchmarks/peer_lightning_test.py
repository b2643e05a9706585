"""The accuracy of a checkpoint of `peer_lightning` on a folder of test images.

python -m benchmarks.peer_lightning_test CHECKPOINT FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.peer_lightning import normalization


def main() -> None:
    checkpoint, folder = (Path(word) for word in sys.argv[1:])
    saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
    settings = saved["hyper_parameters"]
    mean, std = normalization(settings["backbone"], settings["weights"])
    prepared = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    images = ImageFolder(folder, prepared)
    network = timm.create_model(settings["backbone"], num_classes=len(images.classes))
    weights = {
        name.removeprefix("net."): value for name, value in saved["state_dict"].items() if name.startswith("net.")
    }
    network.load_state_dict(weights)
    network.eval()
    right = 0
    with torch.inference_mode():
        for batch, labels in DataLoader(images, 500):
            right += int((network(batch).argmax(1) == labels).sum())
    print(right / len(images))


if __name__ == "__main__":
    main()

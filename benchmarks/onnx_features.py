"""Features of a frozen backbone on a CPU: ONNX Runtime beside torch, by how many images go through at once.

    python -m benchmarks.onnx_features --weights FILE [--backbone tf_efficientnet_lite0] [--image-size 224]

Both put the same random images through the same network; each repeat takes all of them in turn. The ratio is that of
one repeat, of the parts that the program takes on either engine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measurements import Measurement, Result, Section, ratios
from sweeper.modeling.backbones import build_backbone
from sweeper.training.device import place
from sweeper.training.features import CHUNK
from sweeper.training.onnx_forward import AT_ONCE, OnnxForward

PARTS = (16, 64, CHUNK)
WANTED = 4.0


def main() -> None:
    options = arguments()
    built = build_backbone(options.backbone, str(options.weights), options.image_size)
    module = place(built.module.requires_grad_(False).eval(), torch.device("cpu"))
    onnx = OnnxForward(module, options.image_size)
    images = torch.randn(CHUNK, 3, options.image_size, options.image_size)
    started = time.perf_counter()
    onnx(images[:1])
    converting = time.perf_counter() - started

    def by_torch(at_once: int) -> Callable[[], object]:
        parts = [part.contiguous(memory_format=torch.channels_last) for part in torch.split(images, at_once)]
        return lambda: [module(part) for part in parts]

    ways = {f"torch, {at_once} at once": by_torch(at_once) for at_once in PARTS}
    ours = f"ONNX Runtime, {AT_ONCE} at once"
    ways[ours] = lambda: onnx(images)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(options.repeats):
            for name, work in ways.items():
                started = time.perf_counter()
                work()
                rates[name].append(CHUNK / (time.perf_counter() - started))
        expected, found = module(images), onnx(images)
    difference = float((found - expected).abs().max() / expected.abs().max())
    rows = [Measurement(f"{name}: images a second", "", values) for name, values in rates.items()]
    before = f"torch, {CHUNK} at once"
    faster = ratios(rates[ours], rates[before])
    rows.append(Measurement(f"ONNX Runtime / torch as before ({CHUNK} at once)", "", faster, at_least=WANTED))
    rows.append(Measurement("converting, once", "s", [converting]))
    rows.append(Measurement("largest difference, of the largest output", "1e-6", [1e6 * difference]))
    result = Result("onnx_features", "random")
    result.add(Section(f"{options.backbone} at {options.image_size} pixels, float32", rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Whether the accuracy that is expected of a winner is what it reaches on images that chose nothing.

    python -m benchmarks.honesty --data FOLDER --record right.npz    # trains, half an hour on a core
    python -m benchmarks.honesty --replay right.npz                  # a few minutes

FOLDER holds class folders of CIFAR-10. To record, 24 trials with random settings are trained on 1,500 images, and after
each epoch the network is asked about 12,500 others, the pool. A replay then is a sweep: some of the trials, and some
images of the pool as its validation split, by which the best epoch of the best trial is chosen; at least 10,000 others
say what it is worth. Their own chance is allowed for where it is asked whether the interval holds the truth.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm

from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import REPOSITORY
from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.prepare import prepare_images
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialSpec
from sweeper.scores.expected_accuracy import CONFIDENCE, expected_accuracy, redrawn
from sweeper.training.checkpoint import load_checkpoint
from sweeper.training.conditions import Conditions
from sweeper.training.evaluate import evaluate
from sweeper.training.inputs import TrialData
from sweeper.training.trainer import train

TRIALS, EPOCHS, SIZE = 24, 8, 16
TRAINED, JUDGED, POOL = 1500, 500, 12_500
SPLITS = (200, 1000, 2500)
SWEEPS = 400
CPU = torch.device("cpu")
Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def main() -> None:
    options = arguments()
    if options.record:
        record(options.data, options.record)
        return
    with np.load(options.replay) as stored:
        right = np.unpackbits(stored["right"], axis=2, count=POOL).astype(bool)
    result = Result("honesty", f"{POOL:,} of CIFAR-10 at {SIZE} pixels")
    for trials in (5, TRIALS):
        for images in SPLITS:
            rows = replays(right, trials, images)
            result.add(Section(f"{SWEEPS} sweeps of {trials} trials, {images:,} validation images", rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--record", type=Path, help="write here what each epoch has right")
    wanted.add_argument("--replay", type=Path, help="what was recorded")
    return parser.parse_args()


def replays(right: npt.NDArray[np.bool_], trials: int, images: int) -> list[Measurement]:
    """Replay sweeps on what T trials have right after each of E epochs, [T, E, N]."""
    dice = np.random.default_rng(images + trials)
    measured, expected, covered, optimism, not_drawn = [], [], [], [], []
    for number in range(SWEEPS):
        order = dice.permutation(right.shape[2])
        chosen = right[dice.choice(len(right), trials, replace=False)]
        seen, held_out = chosen[:, :, order[:images]], chosen[:, :, order[images:]]
        accuracy = seen.mean(axis=2)
        winner, epoch = np.unravel_index(accuracy.argmax(), accuracy.shape)
        truth = float(held_out[winner, epoch].mean())
        found = expected_accuracy(list(seen), seed=number)
        first, lost, left = redrawn(list(seen), seed=number)
        optimism.append(100 * (first - float(lost.mean()) - truth))
        not_drawn.append(100 * (float(left.mean()) - truth))
        if found is None:
            raise SystemExit(f"{images} images are too few")
        chance = math.sqrt(truth * (1 - truth) / held_out.shape[2])
        half = Z * math.hypot((found.high - found.low) / 2 / Z, chance)
        measured.append(100 * (found.measured - truth))
        expected.append(100 * (found.accuracy - truth))
        covered.append(abs(found.accuracy - truth) <= half)
    held = 100 * float(np.mean(covered))
    return [
        Measurement("what chose it says too much: mean, points", "", [float(np.mean(measured))]),
        Measurement("what is expected says too much: mean, points", "", [float(np.mean(expected))], at_most=0.2),
        Measurement("the same, of each sweep, points", "", expected),
        Measurement("the optimism alone: mean, points", "", [float(np.mean(optimism))]),
        Measurement("the images not drawn alone: mean, points", "", [float(np.mean(not_drawn))]),
        Measurement("intervals that hold the truth, %", "", [held], at_least=92.0),
    ]


def record(data: Path, file: Path) -> None:
    """Train the trials, and write what each has right after each epoch."""
    torch.set_num_threads(1)
    load_model_files([REPOSITORY / "models" / "small_resnet.py"])
    limit = {"train_images": TRAINED + JUDGED + POOL}
    dataset = DatasetConfig.model_validate({"path": str(data.absolute()), "limit": limit})
    with TemporaryDirectory() as folder:
        images = prepare_images(dataset, SIZE, Workspace(Path(folder)))
        rows = np.random.default_rng(0).permutation(images.splits["train"])
        parts = np.split(rows, [TRAINED, TRAINED + JUDGED, TRAINED + JUDGED + POOL])
        train_rows, val_rows, pool_rows = (np.sort(part) for part in parts[:3])
        placed = replace(images, splits={"train": train_rows, "val": val_rows})
        pool = DeviceImages(replace(images, splits={"train": train_rows, "val": pool_rows}), "val", CPU)
        given = TrialData(DeviceImages(placed, "train", CPU), DeviceImages(placed, "val", CPU), images.titles)
        right = [one_trial(number, given, pool, Path(folder)) for number in range(TRIALS)]
    np.savez_compressed(file, right=np.packbits(np.stack(right), axis=2))


def one_trial(number: int, data: TrialData, pool: DeviceImages, folder: Path) -> npt.NDArray[np.bool_]:
    """Train a trial with random settings and return what it has right after each epoch, [E, N]."""
    config = TrialConfig.model_validate(settings(number))
    home = TrialFolder(folder / f"trial-{number:04d}")
    found: list[npt.NDArray[np.bool_]] = []

    def ask(_: EpochMetrics) -> bool:
        state = load_checkpoint(home)
        if state is None:
            raise SystemExit("an epoch left no checkpoint")
        network = build_classifier(config, len(data.classes))
        network.load_state_dict(state["model"])
        batches = pool.eval_batches(256, SIZE, network.mean, network.std)
        top = evaluate(network, batches, classes=len(data.classes), device=CPU).top
        if top is not None:
            found.append(top.predictions(pool).right)
        return False

    spec = TrialSpec(number=number, seed=number, epochs=EPOCHS, config=config)
    train(spec, home, Conditions(data, ObjectiveConfig(), None, CPU), ask)
    print(f"trial {number}: {found[-1].mean():.3f}")
    return np.stack(found)


def settings(number: int) -> dict[str, Any]:
    dice = np.random.default_rng(100 + number)
    adam = {"name": "adamw", "lr": float(10 ** dice.uniform(-3.5, -1.8))}
    sgd = {"name": "sgd", "lr": float(10 ** dice.uniform(-2, -0.3)), "momentum": 0.9}
    return {
        "backbone": "small_resnet",
        "pretrained": False,
        "image_size": SIZE,
        "batch_size": int(dice.choice([32, 64])),
        "optimizer": adam if dice.random() < 0.5 else sgd,
        "weight_decay": float(10 ** dice.uniform(-5, -1)),
        "augment": {"crop_padding": 2, "flip": True},
        "scheduler": {"name": "cosine"},
    }


if __name__ == "__main__":
    main()

"""Whether the settings that a first study begins with are good: beside settings drawn from the same search space.

    python -m benchmarks.recipes --data FOLDER    # class folders of CIFAR-10; half an hour on two cores

For each kind of data set `sweeper init`'s search space is written, and its recipe is trained with three seeds. Then as
many settings as one has time for are drawn from that space at random, and trained for as many epochs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import run_sweep
from sweeper.paths import Workspace
from sweeper.proposal.data import look_at_data
from sweeper.proposal.machine import look_at_machine
from sweeper.proposal.text import space_text
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore

SEEDS = 3
DRAWN = 12
EPOCHS = 10
SPEED = 400.0  # images a second: what is measured here does not depend on it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    source = parser.parse_args().data.absolute()
    result = Result("recipes", f"{DRAWN} drawn settings, {SEEDS} seeds of each recipe, {EPOCHS} epochs")
    for name, write in CASES.items():
        with TemporaryDirectory() as place:
            folder = Path(place)
            write(source, folder / "images")
            result.add(Section(name, list(measured(folder))))


def measured(folder: Path) -> Iterator[Measurement]:
    """Train the recipe and what is drawn."""
    data, machine = look_at_data(str(folder / "images"), Workspace(folder)), look_at_machine("cpu")
    space = yaml.safe_load(space_text(data, machine, 2.0, lambda *_: SPEED, "cpu"))
    space["pruner"], recipes = "none", space.pop("enqueue")
    metric = space["objective"]["metric"]
    drawn = trained(folder, space | {"study": "drawn", "sampler": "random"}, DRAWN, 0)
    random = np.array([row.value for row in drawn if row.value is not None])
    yield Measurement(f"{metric} of what was drawn", "", sorted(random.tolist()))
    for name, settings in recipes.items():
        reached = []
        for seed in range(SEEDS):
            first = space | {"study": f"{name}-{seed}", "enqueue": {name: settings}}
            reached += [row.value or 0.0 for row in trained(folder, first, 1, seed)]
        yield Measurement(f"{metric} of {name}", "", reached)
        beaten = 100 * float(np.mean([(random < value).mean() for value in reached]))
        yield Measurement(f"drawn settings that {name} beats", "%", [beaten], at_least=80)


def trained(folder: Path, space: dict[str, Any], trials: int, seed: int) -> list[TrialRow]:
    """Run a study and return its trials."""
    space = {**space, "budget": {"trials": trials, "epochs": EPOCHS}, "seed": seed}
    run_sweep(folder, space, None, "--no-report")
    return StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", str(space["study"])).rows()


def balanced(source: Path, images: Path) -> None:
    """Write 300 images of each class."""
    link(source, images, lambda _: 300)


def long_tailed(source: Path, images: Path) -> None:
    """Write 600 images of the first class, 30 of the last, and evenly fewer between them in the logarithm."""
    link(source, images, lambda place: round(600 * 20 ** (-place / 9)))


def few(source: Path, images: Path) -> None:
    """Write 30 images of each class."""
    link(source, images, lambda _: 30)


def link(source: Path, images: Path, count: Callable[[int], int]) -> None:
    classes = sorted(folder for folder in (source / "train").iterdir() if folder.is_dir())
    for place, folder in enumerate(classes):
        (images / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[: count(place)]:
            (images / folder.name / file.name).symlink_to(file)


def digits(_: Path, images: Path) -> None:
    """Write scikit-learn's digits as grey pictures."""
    known = load_digits()
    for number, (pixels, label) in enumerate(zip(known.images, known.target, strict=True)):
        folder = images / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(folder / f"{number}.png")


CASES: dict[str, Callable[[Path, Path], None]] = {
    "CIFAR-10, 300 images a class": balanced,
    "CIFAR-10, 600 to 30 images a class": long_tailed,
    "CIFAR-10, 30 images a class": few,
    "digits, without colour": digits,
}

if __name__ == "__main__":
    main()

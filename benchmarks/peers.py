"""The search that contestants make: the same space, network, weights and images for each."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

LEARNING_RATE = (1e-4, 1e-2)  # log-uniform
WEIGHT_DECAY = (1e-5, 1e-2)  # log-uniform
PADDING = 4  # pixels of the random crop
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STARTUP_TRIALS = 1000  # of the median pruner, which decides after every epoch and lets all trials train to their ends


@dataclass(frozen=True)
class Task:
    """What every contestant is given."""

    images: Path
    backbone: str
    size: int
    batch_size: int
    trials: int
    epochs: int
    seed: int
    loaders: int
    threads: int
    at_once: int = 1
    startup_trials: int = STARTUP_TRIALS
    weights: Path | None = None  # of the backbone, to begin from

    def words(self) -> list[str]:
        """Return the command line of a contestant that says all this."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return [word for name, value in said.items() for word in (f"--{name}", str(value))]


def task_of_arguments() -> Task:
    """Read a task from the command line of a contestant: `--images FOLDER --trials 8 ...`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path)
    for name in ("size", "batch_size", "trials", "epochs", "seed", "loaders", "threads", "at_once", "startup_trials"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Task(**vars(parser.parse_args()))

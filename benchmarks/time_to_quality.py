"""Wall time until the test accuracy is reached that a peer has after its whole sweep.

    python -m benchmarks.time_to_quality --data CIFAR10 [--seeds 5] [--trials 12] [--epochs 15]
    python -m benchmarks.time_to_quality --data CIFAR10 --without lightning

All get the same images, network, number of trials and epochs, one after the other, each as a program of its own from
its start to its end. The first peer is Optuna's TPE with the median pruner on the trainer of sweeper; the second is
Optuna with Lightning, as people write it. sweeper searches as `sweeper init` proposes: a recipe first, pausing in place
of pruning, answers by an image and its mirror image. What chooses is the validation accuracy; the test images, which
nobody trains or chooses by, say what the choice is worth. A trial counts from the moment at which it has ended.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.images import copy_some, gather
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.peers import Task
from benchmarks.program import environment, run_sweep, watch
from benchmarks.sweep import space_of
from sweeper.proposal.recipes import FROM_SCRATCH, SCHEDULE

FIRST = "Optuna, TPE and median, same trainer"
SECOND = "Optuna + Lightning"
DEMANDS = {FIRST: 5.0, SECOND: 8.0}
"""How many times faster the accuracy should be reached."""


@dataclass(frozen=True)
class Leader:
    """A trial that was the best so far when it ended: after how many seconds, and its accuracy on the test images."""

    after_s: float
    test: float


@dataclass(frozen=True)
class Searched:
    """What a contestant has found, in the order of time, and how long it took in all."""

    took_s: float
    leaders: list[Leader]

    def reached(self, accuracy: float) -> float:
        """Return after how many seconds a leader had this test accuracy; infinity where none had."""
        return next((one.after_s for one in self.leaders if one.test >= accuracy), math.inf)

    def at(self, seconds: float) -> float:
        """Return the test accuracy of the leader at a moment; 0 where there was none yet."""
        return next((one.test for one in reversed(self.leaders) if one.after_s <= seconds), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with train/CLASS/ and test/CLASS/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--val", type=int, default=1000)
    parser.add_argument("--test", type=int, default=5000)
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--without", nargs="+", choices=["lightning"], default=[])
    options = parser.parse_args()
    peers = [FIRST, *([SECOND] if "lightning" not in options.without else [])]
    found: dict[str, list[tuple[Searched, Searched]]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as name:
        images = gather(options.data, Path(name) / "images", size=32, classes=10, train=options.train, val=options.val)
        hold_out(options.data, images.folder, options.test)
        for seed in range(options.seeds):
            task = task_of(options, images.folder, seed)
            ours = sweeper(task, Path(name) / f"sweeper-{seed}", proposed(task))
            told("sweeper", seed, ours)
            for peer in peers:
                home = Path(name) / f"{peers.index(peer)}-{seed}"
                theirs = sweeper(task, home, plain(task)) if peer == FIRST else lightning(task, home)
                told(peer, seed, theirs)
                found[peer].append((ours, theirs))
    result = Result("time_to_quality", images.about)
    for peer, pairs in found.items():
        result.add(section(peer, pairs, options.trials, options.epochs))


def hold_out(source: Path, into: Path, count: int) -> None:
    """Copy test images of each class; those for validation come from the other end of the same folders."""
    classes = sorted(path.name for path in (into / "train").iterdir())
    for name in classes:
        (into / "test" / name).mkdir(parents=True)
        copy_some(source / "test" / name, into / "test" / name, count // len(classes), from_end=False)


def task_of(options: argparse.Namespace, images: Path, seed: int) -> Task:
    return Task(
        images=images,
        backbone=options.backbone,
        size=32,
        batch_size=128,
        trials=options.trials,
        epochs=options.epochs,
        seed=seed,
        loaders=0,
        threads=os.cpu_count() or 1,
    )


def plain(task: Task) -> dict[str, Any]:
    """Return the search space with Optuna's defaults: TPE, and the median pruner after five trials."""
    return {**space_of(task), "pruner": "median"}


def proposed(task: Task) -> dict[str, Any]:
    """Return it as `sweeper init` proposes to search it."""
    space = space_of(task)
    recipe = {**FROM_SCRATCH.settings, **SCHEDULE, "test_time_augmentation": "flip"}
    wider = {
        "weight_decay": {"float": [1e-5, 1e-1], "log": True},
        "label_smoothing": {"choice": [0.0, 0.1]},
        "scheduler": {"choice": [{"name": "cosine"}, {"name": "reduce_on_plateau", "patience": {"int": [1, 3]}}]},
        "test_time_augmentation": {"choice": ["none", "flip"]},
    }
    return {
        **space,
        "pruner": "promote",
        "search": {**space["search"], **wider},
        "enqueue": {"from_scratch": recipe},
    }


def sweeper(task: Task, home: Path, space: dict[str, Any]) -> Searched:
    """Run a study, then ask for the test accuracy of every trial that led when it ended."""
    home.mkdir()
    watched = run_sweep(home, space, task.threads, "--no-report")
    trials = ask(home, "status", "sweep")["trials"]
    ended = [(one["ended_ms"] / 1000, one["value"], one["number"]) for one in trials if one["state"] == "complete"]

    def on_test(number: int) -> float:
        judged = ask(home, "evaluate", f"sweep/{number}", "--split", "test")
        return float(judged["metrics"]["accuracy"])

    started = watched.ended - watched.wall_s
    return Searched(watched.wall_s, [Leader(at - started, on_test(number)) for at, number in leading(ended)])


def lightning(task: Task, home: Path) -> Searched:
    """Run the peer's sweep, then put the test images through the weights of every trial that led when it ended."""
    home.mkdir()
    options = [word for key, value in asdict(task).items() for word in (f"--{key}", str(value))]
    watched = watch([sys.executable, "-m", "benchmarks.peer_lightning", *options], home, task.threads)
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{home / 'optuna.db'}")
    trials = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{home / 'optuna.db'}").trials
    ended = [
        (one.datetime_complete.timestamp(), one.value, one.number)
        for one in trials
        if one.state is optuna.trial.TrialState.COMPLETE and one.datetime_complete and one.value is not None
    ]

    def on_test(number: int) -> float:
        (weights,) = (home / "checkpoints" / str(number)).glob("*.ckpt")
        command = [sys.executable, "-m", "benchmarks.peer_lightning_test", str(weights), str(task.images / "test")]
        said = subprocess.run(command, env=environment(), cwd=home, check=True, capture_output=True, text=True)
        return float(said.stdout.split()[-1])

    started = watched.ended - watched.wall_s
    return Searched(watched.wall_s, [Leader(at - started, on_test(number)) for at, number in leading(ended)])


def leading(ended: list[tuple[float, float, int]]) -> list[tuple[float, int]]:
    """Return when trials ended that were then the best on the validation images, and their numbers.

    Args:
        ended: The moment of each end, in seconds since the epoch, the value and the number.
    """
    best, found = -math.inf, []
    for at, value, number in sorted(ended):
        if value > best:
            best = value
            found.append((at, number))
    return found


def ask(home: Path, *command: str) -> dict[str, Any]:
    """Return the program's answer in JSON."""
    words = [sys.executable, "-m", "sweeper", *command, "--json"]
    said = subprocess.run(words, cwd=home, env=environment(), check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def told(who: str, seed: int, searched: Searched) -> None:
    leaders = ", ".join(f"{one.test:.4f} after {one.after_s:.0f} s" for one in searched.leaders)
    print(f"seed {seed}, {who}: {searched.took_s:.0f} s; test accuracy {leaders}", flush=True)


def section(peer: str, pairs: list[tuple[Searched, Searched]], trials: int, epochs: int) -> Section:
    """Compare pairs of sweeps: ours, and the peer's with the same seed."""
    reached = [ours.reached(theirs.leaders[-1].test) for ours, theirs in pairs]
    in_time = [theirs.took_s / seconds for (_, theirs), seconds in zip(pairs, reached, strict=True)]
    ahead = [100 * (ours.at(theirs.took_s) - theirs.leaders[-1].test) for ours, theirs in pairs]
    rows = [
        Measurement("the peer's whole sweep", "s", [theirs.took_s for _, theirs in pairs]),
        Measurement("its test accuracy", "%", [100 * theirs.leaders[-1].test for _, theirs in pairs]),
        Measurement("sweeper's whole sweep", "s", [ours.took_s for ours, _ in pairs]),
        Measurement("its test accuracy", "%", [100 * ours.leaders[-1].test for ours, _ in pairs]),
        Measurement("times sooner at the peer's test accuracy; 0 for never", "", in_time, at_least=DEMANDS[peer]),
        Measurement("ahead in test accuracy when the peer has ended", "points", ahead, at_least=2.0),
    ]
    never = sum(math.isinf(seconds) for seconds in reached)
    note = f"sweeper did not reach the peer's accuracy with {never} of {len(pairs)} seeds" if never else ""
    return Section(f"Against {peer}: {trials} trials of {epochs} epochs at most", rows, note)


if __name__ == "__main__":
    main()

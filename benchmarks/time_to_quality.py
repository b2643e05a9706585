"""Wall time until the test accuracy is reached that a peer has after its whole sweep.

    python -m benchmarks.time_to_quality --data CIFAR10 [--seeds 5] [--trials 12] [--epochs 15]
    python -m benchmarks.time_to_quality --data tiny-imagenet-200 --classes 20 --size 64 --train 5000 --test 4000 \\
        --backbone tf_efficientnet_lite0 --weights tf_efficientnet_lite0.safetensors --name time_to_quality_1
    python -m benchmarks.time_to_quality --data CIFAR10 --peers lightning autogluon --autogluon OTHER/bin/python

All get the same images, network, weights, number of trials and epochs, one after the other, each as a program of its
own from its start to its end. The first peer is Optuna's TPE with the median pruner on the trainer of sweeper; the
second is Optuna with Lightning, as people write it; the third is AutoGluon's MultiModalPredictor with its search by
ASHA, run by a Python of its own, since it needs older libraries. sweeper searches as `sweeper init` proposes: a recipe
first and pausing in place of pruning; from scratch, answers by an image and its mirror image; with weights, the last
stage learns from stored values of enlarged images. What chooses is the validation accuracy;
the test images, which nobody trains or chooses by, say what the choice is worth. A trial counts from the moment at
which it has ended; of AutoGluon its end alone counts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.images import copy_some, gather
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.peers import Task
from benchmarks.program import environment, run_sweep, watch
from benchmarks.proposals import proposal
from benchmarks.sweep import space_of
from sweeper.processor import computes_bfloat16
from sweeper.proposal.recipes import FROM_SCRATCH, SCHEDULE

PEERS = {
    "same-trainer": "Optuna, TPE and median, same trainer",
    "lightning": "Optuna + Lightning",
    "autogluon": "AutoGluon MultiModal, ASHA",
}
DEMANDS = {"same-trainer": 5.0, "lightning": 8.0, "autogluon": None}
"""How many times faster the accuracy should be reached."""
PRECISION = "bfloat16" if computes_bfloat16() else "auto"
"""Of both peers on sweeper's trainer, as `sweeper init` proposes it for this processor."""
MEDIAN_STARTUP = 5
"""Trials that Optuna's median pruner lets train to their ends first, by its default."""


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
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--weights", type=Path, help="of the backbone, to begin from; without it from scratch")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=["same-trainer", "lightning"])
    parser.add_argument("--autogluon", type=Path, help="a Python in which AutoGluon is installed")
    parser.add_argument("--name", default="time_to_quality", help="of the result, to keep one beside another")
    options = parser.parse_args()
    if "autogluon" in options.peers and not options.autogluon:
        parser.error("--peers autogluon needs --autogluon PYTHON")
    found: dict[str, list[tuple[Searched, Searched]]] = {peer: [] for peer in options.peers}
    with tempfile.TemporaryDirectory() as name:
        sizes = {"size": options.size, "classes": options.classes, "train": options.train, "val": options.val}
        images = gather(options.data, Path(name) / "images", **sizes)
        hold_out(options.data, images.folder, options.test)
        result = Result(options.name, images.about)
        for seed in range(options.seeds):
            task = task_of(options, images.folder, seed)
            ours = sweeper(task, Path(name) / f"sweeper-{seed}", proposed(task))
            told("sweeper", seed, ours)
            for peer, pairs in found.items():
                theirs = search_by(peer, task, Path(name) / f"{peer}-{seed}", options.autogluon)
                told(PEERS[peer], seed, theirs)
                pairs.append((ours, theirs))
            result.sections.clear()
            for peer, pairs in found.items():
                result.add(section(peer, pairs, options.trials, options.epochs))


def hold_out(source: Path, into: Path, count: int) -> None:
    """Copy test images of each class, from its folder of them or else from what training and validation leave."""
    classes = sorted(path.name for path in (into / "train").iterdir())
    for name in classes:
        target, each = into / "test" / name, count // len(classes)
        target.mkdir(parents=True)
        if (source / "test" / name).is_dir():
            copy_some(source / "test" / name, target, each, from_end=False)
            continue
        taken = {path.name for split in ("train", "val") for path in (into / split / name).iterdir()}
        copy_some(source / "train" / name, target, each, from_end=False, other_than=taken)


def task_of(options: argparse.Namespace, images: Path, seed: int) -> Task:
    return Task(
        images=images,
        backbone=options.backbone,
        size=options.size,
        batch_size=options.batch_size,
        trials=options.trials,
        epochs=options.epochs,
        seed=seed,
        loaders=0,
        threads=os.cpu_count() or 1,
        startup_trials=MEDIAN_STARTUP,
        weights=options.weights.resolve() if options.weights else None,
    )


def search_by(peer: str, task: Task, home: Path, autogluon_python: Path) -> Searched:
    if peer == "same-trainer":
        return sweeper(task, home, plain(task))
    return lightning(task, home) if peer == "lightning" else autogluon(task, home, autogluon_python)


def plain(task: Task) -> dict[str, Any]:
    """Return the search space with Optuna's defaults: TPE, and the median pruner after five trials."""
    return {**space_of(task), "pruner": "median", "precision": PRECISION}


def proposed(task: Task) -> dict[str, Any]:
    """Return it as `sweeper init` proposes to search it, on a machine without a GPU."""
    return on_stored_values(task) if task.weights else from_scratch(task)


def on_stored_values(task: Task) -> dict[str, Any]:
    space = proposal(task.images, "last_stage", [task.backbone])
    budget = {"trials": task.trials, "epochs": task.epochs}
    search = {**space["search"], "pretrained": str(task.weights)}
    return {**space, "study": "sweep", "seed": task.seed, "budget": budget, "search": search}


def from_scratch(task: Task) -> dict[str, Any]:
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
        "precision": PRECISION,
        "search": {**space["search"], **wider},
        "enqueue": {FROM_SCRATCH.name: recipe},
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
    watched = watch([sys.executable, "-m", "benchmarks.peer_lightning", *task.words()], home, task.threads)
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


def autogluon(task: Task, home: Path, python: Path) -> Searched:
    """Run the peer's search in its own Python, then put the test images through the predictor that it leaves."""
    home.mkdir()
    watched = watch([str(python), "-m", "benchmarks.peer_autogluon", *task.words()], home, task.threads)
    command = [str(python), "-m", "benchmarks.peer_autogluon_test", str(task.images / "test")]
    said = subprocess.run(command, env=environment(), cwd=home, check=True, capture_output=True, text=True)
    return Searched(watched.wall_s, [Leader(watched.wall_s, float(said.stdout.split()[-1]))])


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
    return Section(f"Against {PEERS[peer]}: {trials} trials of {epochs} epochs at most", rows, note)


if __name__ == "__main__":
    main()

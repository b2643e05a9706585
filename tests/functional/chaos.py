"""A sweep that is killed at random moments, over and over: the real program in real processes.

Everything lies in one folder: the images, the search space, SQLite for Optuna and for MLflow. All
randomness follows from a seed, except how far the program has come when a moment is due.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import ViewType

from sweeper.paths import Workspace
from sweeper.results import TrialRow, read_history
from sweeper.search.study_store import StudyStore
from tests.functional.program import workers_of
from tests.pictures import write_class_folders

STUDY = "chaos"
REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 300.0
POLL_S = 0.002
DEATHS_OF_A_TRIAL = 2  # one less than fails it
TIMES = ("time/", "images_per_s", "memory/", "system/", "cost/train_seconds")

SPACE: dict[str, Any] = {
    "study": STUDY,
    "dataset": {"path": "images"},
    "budget": {"trials": 6, "epochs": 6},
    "sampler": {"name": "tpe", "startup_trials": 2},
    "pruner": {"name": "hyperband", "reduction_factor": 2},
    "seed": 3,
    "device": "cpu",
    "search": {
        "backbone": "test_resnet",
        "image_size": 8,
        "batch_size": {"choice": [4, 8]},
        "weight_decay": {"float": [1e-5, 1e-2], "log": True},
        "augment": {"flip": True, "crop_padding": {"int": [0, 2]}},
        "optimizer": {
            "choice": [
                {"name": "adam", "lr": {"float": [1e-4, 1e-2], "log": True}},
                {"name": "sgd", "lr": {"float": [1e-3, 1e-1], "log": True}, "momentum": {"float": [0.5, 0.95]}},
            ]
        },
    },
}


def heed_ctrl_c() -> None:
    """Undo what a shell does to programs it starts in the background, tests among them: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Sandbox:
    """A folder in which one study is run, as a user would run it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    @classmethod
    def make(cls, root: Path, **changes: Any) -> Sandbox:
        counts = {"train/a": 24, "train/b": 24, "val/a": 16, "val/b": 16}
        write_class_folders(root / "images", counts)
        (root / "space.yaml").write_text(yaml.safe_dump({**SPACE, **changes}, sort_keys=False))
        return cls(root)

    def settings(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.root / "space.yaml").read_text())
        return loaded

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def log(self) -> Path:
        return self.root / "output.txt"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.workspace.mlflow_database}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sweeper", *(arguments or ("run", "space.yaml", *self.options))]

    def variables(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return {**inherited, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **self.environment}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the program, by default the sweep, in a process group of its own."""
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.root,
                env=self.variables(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=heed_ctrl_c,
            )

    def run(self, *arguments: str) -> int:
        """Run the program to its end and return its exit code."""
        process = self.start(*arguments)
        try:
            return process.wait(PATIENCE_S)
        finally:
            end_group(process)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def rows(self) -> list[TrialRow]:
        return StudyStore.load(f"sqlite:///{self.workspace.optuna_database}", STUDY).rows()

    def epochs_on_disk(self) -> dict[tuple[int, int], int]:
        """Return the time of every epoch that a checkpoint holds now, by trial and epoch."""
        found = {}
        for folder in self.workspace.study(STUDY).trials():
            try:
                history = read_history(folder.history)
            except OSError:
                continue  # delivered and removed just now
            found.update({(folder.number, metrics.epoch): metrics.timestamp_ms for metrics in history})
        return found


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of a program that was started here."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)


# Moments: each returns what must become true before the kill.


def _at_start_up(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    due = time.monotonic() + dice.uniform(0.3, 8)
    return lambda: time.monotonic() >= due


def _as_the_cache_is_written(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    for file in sandbox.workspace.cache.glob("*"):
        file.unlink(missing_ok=True)
    return lambda: any(sandbox.workspace.cache.glob("*"))


def _mid_epoch(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    wanted = len(sandbox.said().splitlines()) + dice.randint(3, 8)
    pause = dice.uniform(0, 0.3)

    def ready() -> bool:
        if len(sandbox.said().splitlines()) < wanted:
            return False
        time.sleep(pause)
        return True

    return ready


def _changes(sandbox: Sandbox, name: str) -> Callable[[], bool]:
    """True once a file of this name is written in any trial's folder, now or later."""

    def state() -> set[tuple[Path, int]]:
        found = set()
        for path in sandbox.workspace.study(STUDY).path.glob(f"trial-*/{name}"):
            try:
                found.add((path, path.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
        return found

    before = state()
    return lambda: bool(state() - before)


def _between_checkpoint_and_report(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    return _changes(sandbox, "checkpoint.pt")


def _while_logging(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    return _changes(sandbox, "run.json")


def _as_a_trial_ends(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    return _changes(sandbox, "outcome.json")


def _as_a_folder_goes(sandbox: Sandbox, dice: random.Random) -> Callable[[], bool]:
    return lambda: any(sandbox.workspace.study(STUDY).delivered())


MOMENTS: dict[str, Callable[[Sandbox, random.Random], Callable[[], bool]]] = {
    "start-up": _at_start_up,
    "cache": _as_the_cache_is_written,
    "mid-epoch": _mid_epoch,
    "checkpoint": _between_checkpoint_and_report,
    "logging": _while_logging,
    "outcome": _as_a_trial_ends,
    "delivered": _as_a_folder_goes,
}
VICTIMS = ("worker", "driver", "both", "group")


@dataclass
class Storm:
    """Kills a sweep in turn at every kind of moment, until enough have been or the sweep has ended."""

    sandbox: Sandbox
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    seen: dict[tuple[int, int], int] = field(default_factory=dict)

    def rage(self, kills: int, moments: tuple[str, ...] = tuple(MOMENTS)) -> None:
        dice = random.Random(self.seed)
        plan: list[str] = []
        process = self.sandbox.start()
        try:
            while self.kills.total() < kills:
                plan = plan or dice.sample(moments, len(moments))
                moment = plan.pop()
                victim = self._victim(moment, dice)
                ready = MOMENTS[moment](self.sandbox, dice)
                if not self._await(process, ready):
                    if process.returncode == 0:
                        return  # the sweep got to its end
                else:
                    self._kill(process, victim)
                    self.kills[f"{victim} at {moment}"] += 1
                if process.poll() is not None:
                    self.seen = {**self.sandbox.epochs_on_disk(), **self.seen}
                    process = self.sandbox.start()
        finally:
            end_group(process)
            self.seen = {**self.sandbox.epochs_on_disk(), **self.seen}

    def _victim(self, moment: str, dice: random.Random) -> str:
        victim = dice.choice(VICTIMS)
        deaths = Counter(re.findall(r"^trial (\d+): its worker was killed", self.sandbox.said(), re.MULTILINE))
        if victim in ("worker", "both") and max(deaths.values(), default=0) >= DEATHS_OF_A_TRIAL:
            return "driver"
        return "group" if moment == "cache" else victim  # then there is no worker yet

    def _await(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None:
            if ready():
                return True
            assert time.monotonic() < deadline, f"nothing happens any more:\n{self.sandbox.said()}"
            time.sleep(POLL_S)
        return False

    def _kill(self, process: subprocess.Popen[bytes], victim: str) -> None:
        if victim == "group":
            return end_group(process)
        if victim in ("worker", "both"):
            for worker in workers_of(process.pid):
                worker.kill()
        if victim in ("driver", "both"):
            process.kill()
            process.wait(PATIENCE_S)
        return None


# What must be true in the end.


def table(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the final table without times: what an uninterrupted sweep must give to the last digit."""
    kept = {"number", "state", "value", "best_epoch", "epochs", "params", "config", "reason"}
    rows = sandbox.rows()
    metrics = [row.outcome.best_metrics if row.outcome else None for row in rows]
    return [{**row.model_dump(include=kept), "metrics": best} for row, best in zip(rows, metrics, strict=True)]


def recorded(
    sandbox: Sandbox, tracking_uri: str | None = None, name: str = STUDY
) -> dict[str, dict[str, list[tuple[int, float, int]]]]:
    """Return step, value and time of every point of every metric, by run name; every run is there once and closed.

    `name` is that of the experiment.
    """
    client = mlflow.MlflowClient(tracking_uri or sandbox.tracking_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    names = Counter(run.info.run_name for run in runs)
    assert set(names.values()) == {1}, f"a run is there twice: {names}"
    statuses = {run.info.run_name: run.info.status for run in runs}
    assert "RUNNING" not in statuses.values(), statuses
    (parent,) = (run for run in runs if run.info.run_name == STUDY)
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    for run in children:
        assert len(client.list_artifacts(run.info.run_id, "weights")) == 1
    return {
        run.info.run_name: {
            key: [
                (point.step, point.value, point.timestamp) for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
        }
        for run in runs
    }


def check(
    sandbox: Sandbox,
    reference: Sandbox,
    seen: dict[tuple[int, int], int],
    tracking_uri: str | None = None,
    name: str = STUDY,
) -> None:
    """Assert that a battered study equals an undisturbed one, and that MLflow holds everything once."""
    assert table(sandbox) == table(reference)
    rows = sandbox.rows()
    assert [row.number for row in rows] == list(range(sandbox.settings()["budget"]["trials"]))
    runs, whole = recorded(sandbox, tracking_uri, name), recorded(reference)
    assert set(runs) == {STUDY, *(f"trial-{row.number:04d}" for row in rows)}
    for row in rows:
        name = f"trial-{row.number:04d}"
        for key, points in runs[name].items():
            if key.startswith("system/"):
                continue
            once = {"best/": row.best_epoch, "cost/": row.epochs}
            steps = next(
                ([step] for kind, step in once.items() if key.startswith(kind)), list(range(1, row.epochs + 1))
            )
            assert [step for step, _, _ in points] == steps, f"{name} {key}: {points}"
            if not any(part in key for part in TIMES):
                assert [value for _, value, _ in points] == [value for _, value, _ in whole[name][key]], (name, key)
    for (number, epoch), timestamp_ms in seen.items():
        ((_, _, recorded_ms),) = (point for point in runs[f"trial-{number:04d}"]["train/loss"] if point[0] == epoch)
        assert recorded_ms == timestamp_ms, f"trial {number} did not go on from its checkpoint of epoch {epoch}"
    assert [step for step, _, _ in runs[STUDY]["trials/complete"]] == list(range(1, len(rows) + 1))
    require_tidy(sandbox)


def require_tidy(sandbox: Sandbox) -> None:
    """Assert that nothing is left on disk but what is shared and the study's own summary."""
    study = sandbox.workspace.study(STUDY)
    left = {path.name for path in study.path.iterdir()} - {"logs"}
    assert left == {"driver.lock", "identity.json", "requests", "sweep"}
    assert not list(sandbox.workspace.cache.glob("*.partial"))
    assert not list(sandbox.root.rglob("*.part"))
    assert not sandbox.workspace.mlflow_building.exists()

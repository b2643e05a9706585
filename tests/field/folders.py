"""Working directories in which studies run for real, but for the training: its files are written by a script."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.tracking._tracking_service import utils

from sweeper.addresses import sqlite_address
from sweeper.config.sweep import SweepConfig
from sweeper.confirm.run import confirm_leaders
from sweeper.engines.protocol import EpochFinished, Event, TrialEnded
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.scores.confusion import write_confusion
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.result import SweepResult
from sweeper.study.run import run_sweep
from sweeper.tracking.mlflow_store import default_tracking_uri
from sweeper.upkeep.doctor import examine_study
from tests.pictures import write_split_folders
from tests.study.test_driver import ScriptedEngine, Silent

Script = Callable[[TrialSpec], Iterator[Event]]


@dataclass(frozen=True)
class Here:
    """A working directory with images, an empty MLflow database of its own, and a study `s`.

    `weights` is what its trials leave as weights.
    """

    root: Path
    weights: bytes = b"weights"

    @classmethod
    def made(cls, root: Path, created: Path) -> Here:
        write_split_folders(root / "images", train=1, val=1)
        shutil.copy(created, root / created.name)
        return cls(root, root.name.encode())

    def moved(self, to: Path) -> Here:
        self.root.rename(to)
        utils._artifact_repos_cache.clear()  # another process goes on
        return Here(to, self.weights)

    def copied(self, to: Path) -> Here:
        shutil.copytree(self.root, to)
        utils._artifact_repos_cache.clear()
        return Here(to, self.weights)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def folder(self) -> StudyFolder:
        return self.workspace.study("s")

    @property
    def storage(self) -> str:
        return sqlite_address(self.workspace.optuna_database)

    @property
    def tracking(self) -> str:
        return default_tracking_uri(self.workspace)

    @property
    def store(self) -> StudyStore:
        return StudyStore.load(self.storage, "s")

    def sweep(self, trials: int = 1, **more: Any) -> SweepConfig:
        content = {
            "study": "s",
            "dataset": {"path": "images"},
            "budget": {"trials": trials, "epochs": 2},
            "search": {"backbone": "r", "image_size": 8, "weight_decay": {"float": [0, 1]}},
            **more,
        }
        return SweepConfig.model_validate(content)

    def run(
        self,
        trials: int = 1,
        *,
        tracking: str | None = None,
        storage: str | None = None,
        script: Script | None = None,
        name: str | None = None,
        **more: Any,
    ) -> SweepResult:
        with chdir(self.root):
            return run_sweep(
                self.sweep(trials, tracking={"name": name}, **more),
                workspace=self.workspace,
                storage_url=storage or self.storage,
                tracking_uri=tracking or self.tracking,
                engine=lambda: ScriptedEngine(script or self.trains),
                observer=Silent(),
            )

    def trains(self, spec: TrialSpec) -> Iterator[Event]:
        """Leave what a trial of two epochs leaves."""
        trial, points = self.folder.trial(spec.number), []
        for number in range(1, spec.epochs + 1):
            points.append(EpochMetrics(epoch=number, values={"val/accuracy": 0.5}, timestamp_ms=number))
            write_whole(trial.history, json.dumps([point.model_dump() for point in points]))
            yield EpochFinished(spec.number, points[-1])
        write_confusion(trial.confusion / "best.csv", np.eye(2, dtype=np.int64), ["cat", "dog"])
        write_whole(trial.weights_of(1), self.weights)
        outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=2, best_epoch=1, best_value=0.5, timestamp_ms=9)
        yield self.ended(spec, outcome)

    def fails(self, spec: TrialSpec) -> Iterator[Event]:
        """Leave what a trial leaves that fails at once."""
        reason = f"the loss was NaN in step {spec.number}"
        yield self.ended(spec, TrialOutcome(state=TrialState.FAILED, reason=reason, timestamp_ms=9))

    def ended(self, spec: TrialSpec, outcome: TrialOutcome) -> TrialEnded:
        write_whole(self.folder.trial(spec.number).outcome, outcome.model_dump_json())
        return TrialEnded(spec.number, outcome)

    def weights_of(self, number: int, into: Path, tracking: str | None = None) -> bytes:
        """Return the weights of a trial, as `best --export` finds them."""
        store = self.store
        with chdir(self.root):
            found = fetch_artifacts(self.workspace, store, store.rows()[number], into, tracking)
        return found.weights.read_bytes()

    def adopt(self, *, storage: str | None = None) -> list[str]:
        """Let the study belong to this folder, and return what is said of it."""
        with chdir(self.root):
            found = examine_study(self.workspace, storage or self.storage, "s", None, fix=False, adopt=True)
        return [finding.what for finding in found]

    def wrong(self, *, fix: bool = False, tracking: str | None = None) -> list[str]:
        """Return what the doctor finds."""
        with chdir(self.root):
            found = examine_study(self.workspace, self.storage, "s", tracking, fix=fix)
        return [finding.what for finding in found if not finding.sound]


class Repeating(Here):
    """The same working directory, for a script that trains the leaders of its study again."""

    @property
    def folder(self) -> StudyFolder:
        return self.workspace.study("s").confirmation


def confirm(here: Here, *, top: int, script: Script | None = None) -> SweepResult:
    """Train the best trials again with two fresh seeds each."""
    with chdir(here.root):
        confirmed = confirm_leaders(
            here.store,
            top=top,
            seeds=2,
            workspace=here.workspace,
            tracking_uri=here.tracking,
            engine=lambda: ScriptedEngine(script or Repeating(here.root).trains),
            observer=Silent(),
        )
    return confirmed.run


def content(root: Path) -> dict[Path, bytes]:
    """Return all files below a folder but locks, with what they hold."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(root): path.read_bytes() for path in files}


def runs(uri: str, experiment: str = "s") -> dict[str, Any]:
    """Return the runs of an experiment by their names."""
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])} if found else {}


def points(uri: str, run: str) -> list[int]:
    """Return the epochs that a run has a point of, each as often as it has one."""
    return [point.step for point in mlflow.MlflowClient(uri).get_metric_history(run, "val/accuracy")]

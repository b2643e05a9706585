"""The trial that a training goes on from: an MLflow run, STUDY/NUMBER or STUDY/best."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError, StudyNotFound
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.study.lineage import read_start
from sweeper.study.winner import study_winner
from sweeper.tracking.delivery import STUDY_TAG, TRIAL_TAG
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri

RUN_ID = re.compile(r"[0-9a-f]{32}")
BEST = "best"


@dataclass(frozen=True)
class SourceTrial:
    """A trial with weights, and the study it belongs to."""

    sweep: SweepConfig
    row: TrialRow
    config: TrialConfig
    best_epoch: int
    before: int
    """Epochs that its own source had, where it was a continuation itself."""

    @property
    def name(self) -> str:
        return f"{self.sweep.study}/{self.row.number}"

    @property
    def own_epochs(self) -> int:
        """Epochs that a trial of its study has, those of its own source left aside."""
        return self.sweep.budget.epochs - self.before


def find_source(workspace: Workspace, storage_url: str, named: str, tracking_uri: str | None) -> SourceTrial:
    """Return the trial that `named` stands for.

    Raises StudyError when there is none or it has no weights, TrackingError when MLflow is asked for a
    run and cannot be reached.
    """
    study, _, trial = named.rpartition("/")
    if not study and RUN_ID.fullmatch(named):
        study, trial = _trial_of_run(workspace, named, tracking_uri)
    if not study or not (trial == BEST or trial.isdecimal()):
        raise StudyError(f"--from takes an MLflow run's id, STUDY/NUMBER or STUDY/best, got {named}")
    store = StudyStore.load(storage_url, study)
    row = _row(store, trial)
    if row.config is None or row.outcome is None or row.outcome.best_epoch is None:
        raise StudyError(
            f"trial {row.number} of {study} is {row.state} and has no weights to go on from; see sweeper status {study}"
        )
    start = read_start(workspace.study(study))
    return SourceTrial(store.sweep, row, row.config, row.outcome.best_epoch, start.epochs if start else 0)


def _trial_of_run(workspace: Workspace, run: str, tracking_uri: str | None) -> tuple[str, str]:
    tags = MlflowStore(tracking_uri or default_tracking_uri(workspace), workspace).tags(run)
    study, trial = tags.get(STUDY_TAG, ""), tags.get(TRIAL_TAG, "")
    if not study or not trial.isdecimal():
        raise StudyError(f"the MLflow run {run} is no trial of a study of sweeper; name a trial's run, or STUDY/NUMBER")
    return study, trial


def _row(store: StudyStore, trial: str) -> TrialRow:
    rows, study = store.rows(), store.sweep.study
    if trial == BEST:
        best = study_winner(store)
        if best is None:
            raise StudyNotFound(f"no trial of {study} has finished; name one as {study}/NUMBER: sweeper status {study}")
        return best
    row = next((row for row in rows if row.number == int(trial)), None)
    if row is None:
        raise StudyNotFound(f"{study} has {len(rows)} trials and no trial {trial}; see sweeper status {study}")
    return row

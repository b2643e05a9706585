"""The files of a finished trial, from its MLflow run or, while they are undelivered, from its folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.errors import DiskError, StudyError
from sweeper.paths import BEST_CONFUSION, StudyFolder, TrialFolder, Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.study.recorded import own_folder, records_of
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.tags import TRIAL_TAG

Kind = Literal["weights", "predictions", "confusion"]


@dataclass(frozen=True)
class TrialArtifacts:
    """A trial's artifacts on this machine and the run they belong to."""

    folder: Path
    run_id: str | None

    @property
    def weights(self) -> Path:
        """The weights of the best epoch, as safetensors. Raises StudyError when there are none."""
        found = next(self.folder.glob("weights/*.safetensors"), None)
        if found is None:
            raise StudyError(f"no weights are among the artifacts in {self.folder}; export another trial")
        return found

    @property
    def confusion(self) -> Path:
        """The confusion matrix of the best epoch."""
        return self.folder / "confusion" / BEST_CONFUSION

    @property
    def predictions(self) -> Path | None:
        """What the trial says about each validation image, where that was fetched and is kept."""
        return next(self.folder.glob("predictions/*.npz"), None)

    @property
    def optimizer(self) -> Path | None:
        """The optimizer's state beside them, where the study has kept it."""
        return next(self.folder.glob("weights/*.optimizer.pt"), None)


def fetch_artifacts(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    into: Path,
    tracking_uri: str | None = None,
    kinds: Sequence[Kind] = ("weights",),
) -> TrialArtifacts:
    """Return what a trial has left of these kinds, downloading it into a folder where need be.

    Raises StudyError when there are none, TrackingError when MLflow cannot be reached.
    """
    folder = own_folder(workspace, store).trial(row.number)
    into.mkdir(parents=True, exist_ok=True)
    if folder.weights.is_dir() and folder.outcome.exists() and _taken(folder, into, kinds):
        return TrialArtifacts(into, None)
    mlflow, run = find_run(workspace, store, row, tracking_uri)
    for kind in kinds:
        if not mlflow.has_files(run, kind):
            raise StudyError(
                f"trial {row.number} of {store.sweep.study} has no {kind} in its MLflow run at {mlflow.shown_uri}: its "
                "files are gone; bring them back, or name another trial"
            )
        mlflow.download(run, kind, into)
    return TrialArtifacts(into, run)


def _taken(trial: TrialFolder, into: Path, kinds: Sequence[Kind]) -> bool:
    """Copy what a trial has left on this disk, and return whether it is all there still. Raises DiskError.

    The driver removes it at any time: as soon as MLflow has it.
    """
    try:
        for kind in kinds:
            for source in (trial.artifacts / kind).rglob("*"):
                if source.is_file():
                    _link_or_copy(source, into / source.relative_to(trial.artifacts))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DiskError(f"{into} cannot be written: {error.strerror or error}; free some space there") from error
    else:
        if trial.weights.is_dir() and trial.outcome.exists():
            return True
    for kind in kinds:
        shutil.rmtree(into / kind, ignore_errors=True)
    return False


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # on another disk, or one without links
        shutil.copyfile(source, target)


def find_run(
    workspace: Workspace, store: StudyStore, row: TrialRow, tracking_uri: str | None
) -> tuple[MlflowStore, str]:
    """Return MLflow and the id of a trial's run in it. Raises StudyError where there is none, TrackingError.

    TrackingRefused where the experiment has been deleted.
    """
    records, study = records_of(workspace, store, tracking_uri), store.sweep.study
    run = records.find_run(TRIAL_TAG, str(row.number))
    if run is None:
        records.require_not_deleted()
        raise StudyError(
            f"trial {row.number} of {study} has no MLflow run at {records.store.shown_uri}; name the right address "
            f"with --tracking-uri, or {_way_to_the_run(own_folder(workspace, store), store, row.number)}"
        )
    return records.store, run


def _way_to_the_run(folder: StudyFolder, store: StudyStore, number: int) -> str:
    """Say what brings a missing run to MLflow, or where the study is that has it."""
    study = store.sweep.study
    if store.identity is not None and not folder.path.is_dir():
        place = store.identity.place
        return f"run the command in the folder of the study, {place.folder} of {place.user} on {place.host}"
    return (
        f"bring it there: sweeper {f'sync {study}' if folder.trial(number).path.is_dir() else f'doctor {study} --fix'}"
    )

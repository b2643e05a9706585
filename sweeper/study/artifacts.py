"""The files of a finished trial, from its MLflow run or, while they are undelivered, from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.study.card import tracking_uri_of
from sweeper.tracking.delivery import STUDY_TAG, TRIAL_TAG
from sweeper.tracking.mlflow_store import MlflowStore


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
            raise StudyError(f"there are no weights among the artifacts in {self.folder}; export another trial")
        return found

    @property
    def optimizer(self) -> Path | None:
        """The optimizer's state beside them, where the study has kept it."""
        return next(self.folder.glob("weights/*.optimizer.pt"), None)


def fetch_artifacts(
    workspace: Workspace, study: str, row: TrialRow, into: Path, tracking_uri: str | None = None
) -> TrialArtifacts:
    """Return the artifacts of a trial, downloading them into a folder where need be.

    Raises StudyError when there are none, TrackingError when MLflow cannot be reached.
    """
    folder = workspace.study(study).trial(row.number)
    if folder.weights.is_dir() and folder.outcome.exists():
        return TrialArtifacts(folder.artifacts, None)
    store, run = find_run(workspace, study, row, tracking_uri)
    into.mkdir(parents=True, exist_ok=True)
    store.download(run, "weights", into)
    return TrialArtifacts(into, run)


def find_run(workspace: Workspace, study: str, row: TrialRow, tracking_uri: str | None) -> tuple[MlflowStore, str]:
    """Return MLflow and the id of a trial's run in it. Raises StudyError where there is none, TrackingError."""
    store = MlflowStore(tracking_uri_of(workspace, study, tracking_uri), workspace)
    run = store.find_run(store.experiment(study), {STUDY_TAG: study, TRIAL_TAG: str(row.number)})
    if run is None:
        raise StudyError(
            f"trial {row.number} of {study} has no MLflow run at this address; name the right one with --tracking-uri, "
            f"or bring it there: sweeper sync {study}"
        )
    return store, run

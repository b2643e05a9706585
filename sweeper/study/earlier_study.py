"""An earlier study whose trials are to teach: opened, found fit to teach, and its trials' files brought here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.errors import StudyError
from sweeper.modeling.name_check import defining_files_apart
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.stored_trial import MODEL_FILES
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import Kind, TrialArtifacts, fetch_artifacts
from sweeper.study.card import read_card
from sweeper.study.pretrained import file_digest
from sweeper.study.recorded import own_folder
from sweeper.study.trained import require_trained
from sweeper.study.unseen_images import require_unseen_images

KEY = "search.teacher"


@dataclass(frozen=True)
class EarlierStudy:
    """A study of classifiers that have been trained.

    Attributes:
        sweep: The search space whose trials it is to teach.
        workspace: Where weights are kept.
        store: The study.
        tracking_uri: Where its weights are, if this machine has not run it.
        new: The study of `sweep` begins; otherwise what teaches it is settled.
    """

    sweep: SweepConfig
    workspace: Workspace
    store: StudyStore
    tracking_uri: str
    new: bool

    def __post_init__(self) -> None:
        """Raise StudyError where it is a study of something else, ConfigError where it has seen what is to judge."""
        require_trained(self.store)
        theirs = self.store.sweep
        if isinstance(theirs.task, ReconstructionConfig):
            raise StudyError(f"{theirs.study} is a study of autoencoders, which name no classes; name a classifier's")
        if self.new:
            require_unseen_images(KEY, self.sweep, theirs)

    def fetch(self, row: TrialRow, into: Path, kinds: Sequence[Kind]) -> TrialArtifacts:
        """Return what a trial has left, downloaded where need be. Raises StudyError, TrackingError."""
        ran_here = read_card(own_folder(self.workspace, self.store)) is not None
        uri = None if ran_here else self.tracking_uri
        return fetch_artifacts(self.workspace, self.store, row, into, uri, kinds)

    def require_same_code(self, networks: Sequence[TrialConfig]) -> None:
        """Raise StudyError, where a study begins, for networks that are not built here as they were there."""
        if self.new:
            digests: Mapping[str, str] = self.store.noted(MODEL_FILES) or {}
            require_same_code(networks, set(digests.values()), self.sweep.model_files)


def require_same_code(
    networks: Sequence[TrialConfig], trained_with: Collection[str], model_files: Sequence[str]
) -> None:
    """Raise StudyError where an architecture is unknown here, or its file is not the one that the teacher learned with.

    `trained_with` are the digests of the model files that the teacher was trained with.
    """
    names = tuple(dict.fromkeys(network.backbone for network in networks))
    found = defining_files_apart(names, tuple(model_files))
    for name in names:
        if name not in found:
            raise StudyError(f"its architecture {name} is not known here; name its file under model_files")
        file = found[name]
        if file is not None and trained_with and file_digest(Path(file)) not in trained_with:
            raise StudyError(
                f"{file}, which defines its architecture {name}, has changed since it was trained; bring that file back"
            )

"""The trial that a training goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import TrialFinder, require_weights
from sweeper.study.lineage import read_lineage
from sweeper.study.model_files import require_same_model_files
from sweeper.study.recorded import own_folder
from sweeper.study.trained import require_trained


@dataclass(frozen=True)
class SourceTrial:
    """A trial with weights, and the study it belongs to."""

    sweep: SweepConfig
    row: TrialRow
    config: TrialConfig
    best_epoch: int
    before: int
    """Epochs that its own source had, where it was a continuation itself."""
    unfreezing_after: int = 0
    """The epoch after which its `unfreezing` counts, from 1."""

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
    finder = TrialFinder(workspace, lambda study: StudyStore.load(storage_url, study), tracking_uri)
    store, row = finder.find(named)
    require_trained(store)
    require_same_model_files(store)
    if store.sweep.dataset.folds:
        raise StudyError(
            f"{store.sweep.study} is cross-validated, and its weights have seen all images: nothing would be left to "
            f"judge a further training by; go on from a trial of a study without dataset.folds"
        )
    config, best_epoch = require_weights(store, row)
    start = read_lineage(own_folder(workspace, store))
    before, unfreezing_after = (start.epochs, start.unfreezes_after) if start else (0, 0)
    return SourceTrial(store.sweep, row, config, best_epoch, before, unfreezing_after)

"""`Trial`: one configuration that was trained, what came of it, and its model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import require_weights, trial_of
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.model_files import require_same_model_files
from sweeper.study.recorded import records_of
from sweeper.study.trained import require_trained

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from sweeper.config.hyperparameters import TrialConfig
    from sweeper.library.exported import Export


def _reopened(workspace: Workspace, storage: str, study: str, number: int, tracking_uri: str | None) -> Trial:
    """Return a trial that was pickled, as it is now."""
    store = StudyStore.load(storage, study)
    return Trial(workspace, store, trial_of(store, number), tracking_uri)


def best_epoch(row: TrialRow) -> int | None:
    """Return the best epoch of a trial; None of a cross-validated one, each of whose folds has one."""
    return None if row.outcome and row.outcome.folds else row.best_epoch


class Trial:
    """One trial of a study, as it was when it was asked for."""

    def __init__(self, workspace: Workspace, store: StudyStore, row: TrialRow, tracking_uri: str | None = None):
        self._workspace = workspace
        self._store = store
        self._row = row
        self._tracking_uri = tracking_uri

    @property
    def number(self) -> int:
        """Its number in the study, from 0."""
        return self._row.number

    @property
    def state(self) -> str:
        """One of waiting, running, paused, complete, pruned and failed."""
        return self._row.state.value

    @property
    def value(self) -> float | None:
        """The objective in the best epoch; None where there is none."""
        return self._row.value

    @property
    def epoch(self) -> int | None:
        """The best epoch, counted from 1; None where there is none, and of a cross-validated trial."""
        return best_epoch(self._row)

    @property
    def duration(self) -> float | None:
        """Seconds of training."""
        return self._row.seconds

    @property
    def params(self) -> dict[str, Any]:
        """What was searched, by the names of the columns of `study.trials`."""
        return dict(self._row.params)

    @property
    def config(self) -> TrialConfig | None:
        """All of its settings, those that were not searched too."""
        return self._row.config

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the best epoch, such as `val/accuracy`."""
        return dict(self._row.outcome.best_metrics) if self._row.outcome else {}

    @property
    def reason(self) -> str | None:
        """Why it was pruned or failed."""
        return self._row.reason

    def model(self) -> nn.Module:
        """Return the network with the weights of its best epoch, in evaluation mode, on the CPU.

        A classifier takes normalised images, float32 [B, 3, S, S], and gives logits [B, C]; an export knows how images
        are prepared (`export`).

        Raises:
            StudyError: the trial has no weights, or a model file has changed since.
            TrackingError: MLflow, which keeps the weights, cannot be reached.
        """
        from sweeper.config.task import CLASSIFICATION
        from sweeper.export.load import load_autoencoder, load_classifier
        from sweeper.modeling.registry import load_model_files

        config, _ = require_weights(self._store, self._row)
        require_trained(self._store)
        root = self._workspace.root
        require_same_model_files(self._store, root)
        load_model_files([root / file for file in self._store.sweep.model_files])
        with tempfile.TemporaryDirectory(prefix="sweeper-model-") as folder:
            found = fetch_artifacts(self._workspace, self._store, self._row, Path(folder), self._tracking_uri)
            if self._store.sweep.task.name != CLASSIFICATION.name:
                return load_autoencoder(config, found.weights)
            return load_classifier(config, len(self._classes()), found.weights)

    def _classes(self) -> tuple[str, ...]:
        """Return the names of the classes as the trial recorded them, else as the images have them now."""
        from sweeper.data.index import build_index
        from sweeper.report.records import class_names, read_record

        records = records_of(self._workspace, self._store, self._tracking_uri)
        record = read_record(self._workspace, self._store, records, self._row)
        return class_names([record], records.store) or build_index(self._store.sweep.dataset, self._workspace).classes

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._workspace, self._store.url, self._store.sweep.study, self.number, self._tracking_uri)

    def predictions(self) -> pd.DataFrame:
        """Return what the best epoch says about each validation image, a row each.

        Columns: image, its path below the data set's folder, empty where that is gone; label and prediction, names of
        classes; probability of the prediction; label_probability, that of the true class; right.

        Raises:
            StudyError: the trial kept no predictions: it has no finished epoch, or is no classifier.
            TrackingError: MLflow, which keeps them, cannot be reached.
        """
        import pandas as pd

        from sweeper.report.pictures import find_files
        from sweeper.report.records import class_names, read_record

        records = records_of(self._workspace, self._store, self._tracking_uri)
        record = read_record(self._workspace, self._store, records, self._row)
        if record.predictions is None:
            raise StudyError(f"trial {self.number} of {self._store.sweep.study} has kept no predictions; take another")
        found, names = record.predictions, class_names([record], records.store)
        files = find_files(self._store.sweep.dataset, self._workspace, found.images)
        return pd.DataFrame(
            {
                "image": list(files.paths),
                "label": [names[label] for label in found.labels],
                "prediction": [names[label] for label in found.predicted],
                "probability": found.probabilities[:, 0],
                "label_probability": found.true,
                "right": found.right,
            }
        )

    def export(self, to: str | Path | None = None) -> Export:
        """Write an export of the trial, check every format of it, and return it; an earlier export there is replaced.

        `to` is the folder, by default exports/STUDY@NUMBER.

        Raises:
            ExportError: a format does not give what was logged, or the folder holds something else.
            StudyError: the trial has no weights or is no classifier, or the images have changed since.
        """
        from sweeper.config.task import CLASSIFICATION
        from sweeper.finished.export_trial import export_trial
        from sweeper.library.exported import load_export

        folder = Path(to) if to is not None else self._workspace.export(self._store.sweep.study, self.number)
        require_weights(self._store, self._row)
        study = self._store.sweep.study
        if self._store.sweep.task.name != CLASSIFICATION.name:
            raise StudyError(
                f"trial {self.number} of {study} is no classifier, and Export labels images; `model()` gives its "
                f"network, and `sweeper best {study} --trial {self.number} --export` writes the files"
            )
        export_trial(self._workspace, self._store, self._row, folder, self._tracking_uri)
        return load_export(folder)

    def __repr__(self) -> str:
        value = "" if self.value is None else f", {self._store.sweep.objective.metric} {self.value:.4f}"
        return f"<Trial {self.number} of {self._store.sweep.study}: {self.state}{value}>"

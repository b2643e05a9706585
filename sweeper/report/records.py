"""What there is to show of a study's trials: from its storage, and of what they left behind from MLflow."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.paths import BEST_CONFUSION, TrialFolder, Workspace
from sweeper.results import TrialRow, read_history
from sweeper.scores.confusion import Confusion, read_confusion
from sweeper.scores.predictions import Predictions, read_predictions
from sweeper.search.study_store import StudyStore
from sweeper.standings.pareto import in_order
from sweeper.study.recorded import own_folder
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.runs import RunSummary
from sweeper.tracking.study_records import StudyRecords

logger = logging.getLogger(__name__)

CURVES = ("train/loss", "val/loss")
"""Curves that are shown beside the objective."""

MOST_CURVES = 200  # trials, those ranked first, whose losses are fetched too; the objective is in the storage
AT_ONCE = 8  # requests to a server far away; a database of this machine takes them one by one anyway

Curve = dict[int, float]  # by epoch


@dataclass(frozen=True)
class TrialRecord:
    """One trial: its row, its curves by metric, and of its best epoch the predictions, or their matrix [C, C].

    `metrics` are the last of its run; `weights` is the size of its weights in bytes.
    """

    row: TrialRow
    curves: Mapping[str, Curve]
    run: RunSummary | None = None
    metrics: Mapping[str, float] | None = None
    weights: int | None = None
    predictions: Predictions | None = None
    confusion: Confusion | None = None
    classes: tuple[str, ...] = ()


def read_record(workspace: Workspace, store: StudyStore, logged: StudyRecords, row: TrialRow) -> TrialRecord:
    """Return one trial. Raises TrackingError when MLflow cannot be reached."""
    (record,) = read_records(workspace, store, logged, [row])
    return record


def read_records(
    workspace: Workspace, store: StudyStore, logged: StudyRecords, rows: Sequence[TrialRow]
) -> list[TrialRecord]:
    """Return trials of a study in the order given. Raises TrackingError when MLflow cannot be reached."""
    tracking, own, numbers = logged.store, own_folder(workspace, store), {row.number for row in rows}
    runs = logged.of_trials(numbers, store.sweep.objective)
    objectives = store.curves(numbers)
    leaders = [runs[row.number].id for row in in_order(rows, store.sweep)[:MOST_CURVES] if row.number in runs]
    losses = tracking.curves(leaders, CURVES)

    shared: list[Predictions] = []

    def read(row: TrialRow) -> TrialRecord:
        curves: dict[str, Curve] = {store.sweep.objective.metric: objectives.get(row.number, {})}
        folder, run = own.trial(row.number), runs.get(row.number)
        try:
            if row.ended_ms is not None and folder.outcome.exists():
                return slim(_from_folder(row, curves, folder))
            if run is not None:
                return slim(_from_run(row, {**losses.get(run.id, {}), **curves}, tracking, run))
        except StudyError as error:
            logger.warning("trial %d is shown without its images: %s", row.number, error)
        return TrialRecord(row, curves, run, run.metrics if run else None)

    def slim(record: TrialRecord) -> TrialRecord:
        """Keep of hundreds of trials on thousands of images what is shown: the class that each found likeliest."""
        if record.predictions is None:
            return record
        kept = record.predictions.best_alone(next(iter(shared), None))
        if not shared:
            shared.append(kept)
        return replace(record, predictions=kept)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="records") as threads:
        return list(threads.map(read, rows))


def _from_folder(row: TrialRow, curves: Mapping[str, Curve], folder: TrialFolder) -> TrialRecord:
    """Read what a trial left that has not been delivered yet."""
    history = read_history(folder.history)
    more = {name: {epoch.epoch: epoch.values[name] for epoch in history if name in epoch.values} for name in CURVES}
    weights = next((file.stat().st_size for file in folder.weights.glob("*.safetensors")), None)
    kept = next(iter(sorted(folder.predictions.glob("*.npz"))), None)
    matrix, classes = _matrix(folder.confusion / BEST_CONFUSION)
    return TrialRecord(
        row,
        {**more, **curves},
        metrics=history[-1].values if history else {},
        weights=weights,
        predictions=read_predictions(kept) if kept else None,
        confusion=matrix,
        classes=classes,
    )


def _from_run(row: TrialRow, curves: Mapping[str, Curve], tracking: MlflowStore, run: RunSummary) -> TrialRecord:
    """Read a trial's run; without a best epoch it left no files."""
    record = TrialRecord(row, curves, run, run.metrics)
    if row.best_epoch is None:
        return record
    sizes = tracking.sizes(run, "weights")  # the optimizer's state may lie beside them
    weights = next((size for file, size in sizes.items() if file.endswith(".safetensors")), None)
    predictions = predictions_of_run(tracking, run)
    matrix, classes = (None, ()) if predictions is not None else confusion_of_run(tracking, run)
    return replace(record, weights=weights, predictions=predictions, confusion=matrix, classes=classes)


def predictions_of_run(tracking: MlflowStore, run: RunSummary) -> Predictions | None:
    """Return the predictions of a trial's best epoch; None of a trial that kept none."""
    kept = next(iter(tracking.sizes(run, "predictions")), None)
    if kept is None:
        return None
    with tempfile.TemporaryDirectory(prefix="sweeper-report-") as folder:
        return read_predictions(tracking.fetch(run, kept, Path(folder)))


def confusion_of_run(tracking: MlflowStore, run: RunSummary) -> tuple[Confusion | None, tuple[str, ...]]:
    """Return the confusion matrix of a trial's best epoch and the names of the classes."""
    name = f"confusion/{BEST_CONFUSION}"
    if name not in tracking.sizes(run, "confusion"):
        return None, ()
    with tempfile.TemporaryDirectory(prefix="sweeper-report-") as folder:
        return _matrix(tracking.fetch(run, name, Path(folder)))


def _matrix(path: Path) -> tuple[Confusion | None, tuple[str, ...]]:
    if not path.exists():
        return None, ()
    try:
        matrix, classes = read_confusion(path)
    except ValueError as error:
        raise StudyError(str(error)) from error
    return matrix, tuple(classes)


def class_names(records: Sequence[TrialRecord], tracking: MlflowStore) -> tuple[str, ...]:
    """Return the names of the classes, as one of the trials recorded them."""
    known = next((record.classes for record in records if record.classes), ())
    run = next((record.run for record in records if record.run and record.predictions is not None), None)
    return known or (confusion_of_run(tracking, run)[1] if run else ())

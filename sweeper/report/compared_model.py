"""The two sides of a difference: a trial, a study's winner, or an export, with what it says about its images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sweeper.config.dataset import DatasetConfig
from sweeper.config.flatten import flatten
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError, StudyNotFound
from sweeper.export.export_config import read_config
from sweeper.export.load import load_export
from sweeper.finished.evaluate import evaluate_on, images_for_trial
from sweeper.finished.evaluate_classifier import SplitReport, evaluate_export
from sweeper.finished.evaluated_images import images_for_export, is_of
from sweeper.finished.looks import keep_look
from sweeper.finished.named_data import NamedData
from sweeper.finished.tasks import CLASSIFIERS
from sweeper.paths import ExportFolder, Workspace
from sweeper.report.records import Curve, confusion_of_run, read_record
from sweeper.results import TrialRow
from sweeper.scores.predictions import Predictions
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import TrialFinder, trial_of
from sweeper.study.card import read_card
from sweeper.study.recorded import own_folder, records_of
from sweeper.training.device import device_of_study, open_device

FORMS = {"soup": "an average of the weights of several trials", "ensemble": "an ensemble of several trials"}
NAME_IMAGES = "name images to evaluate it on with --data"


@dataclass(frozen=True)
class Side:
    """One of the two that are compared. `scores` are of its best epoch, `curves` by metric and epoch."""

    name: str
    params: Mapping[str, Any]
    scores: Mapping[str, float]
    curves: Mapping[str, Curve]
    classes: tuple[str, ...]
    predictions: Predictions | None
    dataset: DatasetConfig | None
    judged_on: str = ""
    """Digest of the data set whose validation images the predictions are of; empty where that is not known."""
    judged_at: Path | None = None
    """The folder below which the names of its images lie."""
    remarks: tuple[str, ...] = ()
    """What is to be known of the images it was evaluated on: that it was trained on some of them."""

    def require_results(self) -> None:
        """Raise StudyError where there is nothing to compare: the trial has finished no epoch."""
        if not (any(self.curves.values()) or self.scores or self.predictions):
            study = self.name.rpartition("/")[0]
            raise StudyError(f"{self.name} has finished no epoch and cannot be compared; why: sweeper status {study}")


@dataclass(frozen=True)
class SideFinder:
    """Finds what a name on the command line means.

    `open_store` opens a study by name. With `data` both sides are evaluated on these images, else what was kept of the
    validation images is compared.
    """

    workspace: Workspace
    open_store: Callable[[str], StudyStore]
    tracking_uri: str | None = None
    data: NamedData | None = None
    split: Literal["val", "test"] = "val"
    device: str = "auto"
    looks: list[tuple[StudyStore, SplitReport]] = field(default_factory=list)
    """What was evaluated on a study's own test images: to be kept before it is shown, and counted in MLflow."""
    _stores: dict[str, StudyStore] = field(default_factory=dict)

    def find(self, name: str) -> Side:
        """Return a side by the folder of an export or the name of a trial (`config/trial_name.py`).

        Raises StudyNotFound and StudyError where the trial is missing, ExportError, TrackingError.
        """
        if ExportFolder(Path(name)).config.is_file():
            return self._export(Path(name))
        finder = TrialFinder(self.workspace, self._store, self.tracking_uri)
        return self._trial(*finder.find(name))

    def keep_looks(self) -> None:
        """Keep the looks at test splits, until MLflow counts them."""
        for store, report in self.looks:
            keep_look(self.workspace, store, report, (), int(time.time() * 1000))

    def _store(self, study: str) -> StudyStore:
        if study not in self._stores:
            self._stores[study] = self.open_store(study)
        return self._stores[study]

    def _trial(self, store: StudyStore, row: TrialRow) -> Side:
        logged = records_of(self.workspace, store, self.tracking_uri)
        record = read_record(self.workspace, store, logged, row)
        card = read_card(own_folder(self.workspace, store))
        classes = record.classes or (confusion_of_run(logged.store, record.run)[1] if record.run else ())
        side = Side(
            name=f"{store.sweep.study}/{row.number}",
            params=flatten(row.config.model_dump(mode="json")) if row.config else {},
            scores=dict(row.outcome.best_metrics) if row.outcome else {},
            curves=record.curves,
            classes=classes,
            predictions=record.predictions,
            dataset=store.sweep.dataset,
            judged_on=str(card.dataset["digest"]) if card is not None else "",
            judged_at=_folder_of_images(self.workspace, store.sweep.dataset),
        )
        return side if self.data is None else self._evaluated(side, row, self.data)

    def _evaluated(self, side: Side, row: TrialRow, data: NamedData) -> Side:
        store = self._store(side.name.rpartition("/")[0])
        on = self._device_of(store.sweep)
        images = images_for_trial(
            self.workspace,
            store,
            row,
            self.split,
            CLASSIFIERS,
            data=data,
            tracking_uri=self.tracking_uri,
        )
        images = replace(images, images=images.as_named or images.images)
        report = evaluate_on(self.workspace, store, row, images, CLASSIFIERS, device=on, tracking_uri=self.tracking_uri)
        if images.own and self.split == "test":
            self.looks.append((store, report))
        return self._on_data(side, report, images.remarks, data.dataset(store.sweep.dataset.csv))

    def _device_of(self, study: SweepConfig) -> torch.device:
        if self.device == "auto":
            return device_of_study(study.device, study.precision)
        return open_device(self.device, 0, study.precision)

    def _on_data(self, side: Side, report: SplitReport, remarks: tuple[str, ...], dataset: DatasetConfig) -> Side:
        """Replace what is known of the validation images by what was just evaluated."""
        scores = {f"{self.split}/{name}": value for name, value in report.evaluation.values.items()}
        return Side(
            name=side.name,
            params=side.params,
            scores=scores,
            curves=side.curves,
            classes=report.titles,
            predictions=report.predictions,
            dataset=dataset,
            remarks=remarks,
        )

    def _export(self, folder: Path) -> Side:
        """Return an export: evaluated on `data`, or else as the trial it came from."""
        config = read_config(ExportFolder(folder).config)
        lineage = config.lineage
        if self.data is None:
            if config.form != "single":
                raise StudyError(f"{folder} is {FORMS[config.form]}, and no single trial has its scores; {NAME_IMAGES}")
            try:
                store = self._store(lineage.study)
                if not is_of(store, lineage):
                    raise StudyError(f"{folder} is of another study that was called {lineage.study}; {NAME_IMAGES}")
                side = self._trial(store, trial_of(store, lineage.trial))
            except StudyNotFound as error:
                raise StudyError(
                    f"{folder} is trial {lineage.trial} of {lineage.study}, which is not stored here; {NAME_IMAGES}"
                ) from error
            return Side(**{**vars(side), "name": str(folder)})
        params = flatten(lineage.hyperparameters.model_dump(mode="json"))
        bare = Side(str(folder), params, {}, {}, config.classes, None, None)
        on = open_device(self.device, 0)
        export = load_export(folder)
        own = self._store_of(lineage.study)
        images = images_for_export(self.workspace, export.config, own, self.split, self.data)
        report = evaluate_export(export, str(folder), images, device=on)
        csv = own.sweep.dataset.csv if own is not None and is_of(own, lineage) else None
        return self._on_data(bare, report, images.remarks, self.data.dataset(csv))

    def _store_of(self, study: str) -> StudyStore | None:
        """Return the study of an export; None where it is not stored here, or is damaged."""
        try:
            return self._store(study)
        except StudyError:
            return None


def _folder_of_images(workspace: Workspace, dataset: DatasetConfig) -> Path | None:
    if dataset.path is None:
        return None
    path = workspace.root / Path(dataset.path).expanduser()
    return (path.parent / dataset.csv.images if path.suffix.lower() == ".csv" else path).resolve()

"""What a training starts from: weights, perhaps the optimizer's state, and the history up to there, on disk.

Fetched once into the folder of the new study, so that an interrupted one goes on without its source.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyChanged, StudyError
from sweeper.files import write_sealed, write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import EpochMetrics, PinnedTeacher, TrialStart, read_history, write_history
from sweeper.search.stored_studies import study_names
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import TrialArtifacts, fetch_artifacts, find_run
from sweeper.study.card import read_card
from sweeper.study.continuation import RESIZING, UNFREEZING
from sweeper.study.lineage import Lineage, read_lineage
from sweeper.study.lock import study_lock
from sweeper.study.recorded import own_folder
from sweeper.study.source import SourceTrial
from sweeper.tracking.delivery import StudyCard

logger = logging.getLogger(__name__)


def fetch_start(
    workspace: Workspace,
    storage_url: str,
    source: SourceTrial,
    study: str,
    *,
    with_optimizer: bool,
    anew: Collection[str] = (),
    tracking_uri: str | None,
) -> None:
    """Bring what `study` starts from into its folder, unless it is there; `anew` as of `set_anew`.

    Raises StudyError when the source kept no such state, StudyChanged when the study has begun otherwise, StudyLocked
    while it is being run.
    """
    folder = workspace.study(study)
    with study_lock(folder, study, which="fetches what it goes on from"):
        wanted, kept = _Start.of(source, with_optimizer, anew), read_lineage(folder)
        if study not in study_names(storage_url):
            there = kept is not None and wanted == _Start.noted(kept)
        elif there := kept is not None:
            _require_same_start(study, kept, source, with_optimizer)
        else:
            _require_continuation(workspace, StudyStore.load(storage_url, study))
        if not there:
            _fetch(workspace, StudyStore.load(storage_url, source.sweep.study), source, folder, wanted, tracking_uri)


@dataclass(frozen=True)
class _Start:
    """What is taken from a trial, as a lineage notes it."""

    study: str
    trial: int
    weights_epoch: int
    epochs: int
    with_optimizer: bool
    unfreezing_after: int | None
    resizing: bool

    @classmethod
    def of(cls, source: SourceTrial, with_optimizer: bool, anew: Collection[str]) -> Self:
        row = source.row
        unfreezing_after = row.epochs if UNFREEZING in anew else source.unfreezing_after
        of_trial = source.sweep.study, row.number, source.best_epoch, row.epochs
        return cls(*of_trial, with_optimizer, unfreezing_after, RESIZING in anew)

    @classmethod
    def noted(cls, lineage: Lineage) -> Self:
        return cls(**lineage.model_dump(include={field.name for field in fields(cls)}))


REMEDY = "give the new one another name, --set study=NAME"


def _require_continuation(workspace: Workspace, store: StudyStore) -> None:
    """Raise StudyChanged where a study that has begun went on from nothing; what one went on from may be lost here."""
    study = store.sweep.study
    if store.sweep.search.pretrained != _written(workspace, workspace.study(study).start.weights):
        raise StudyChanged(f"there is a study {study}, and it does not go on from a trial; {REMEDY}")


def _require_same_start(study: str, kept: Lineage, source: SourceTrial, with_optimizer: bool) -> None:
    """Raise StudyChanged where a continuation that has begun does not go on from this trial."""
    if (kept.study, kept.trial) != (source.sweep.study, source.row.number):
        from_it = f"{kept.study}/{kept.trial}"
        raise StudyChanged(
            f"{study} goes on from {from_it}, not from {source.sweep.study}/{source.row.number}: continue it with "
            f"--from {from_it}, or {REMEDY}"
        )
    if kept.with_optimizer != with_optimizer:
        began, change = ("with", "add") if kept.with_optimizer else ("without", "remove")
        raise StudyChanged(
            f"{study} began {began} the optimizer's state of its source; {change} --with-optimizer, or {REMEDY}"
        )


def _fetch(
    workspace: Workspace,
    store: StudyStore,
    source: SourceTrial,
    folder: StudyFolder,
    wanted: _Start,
    tracking_uri: str | None,
) -> None:
    shutil.rmtree(folder.start.path, ignore_errors=True)  # what an interrupted fetch has left
    folder.start.path.mkdir(parents=True)
    mlflow, run = find_run(workspace, store, source.row, tracking_uri)
    artifacts = fetch_artifacts(workspace, store, source.row, folder.start.path / "fetched", tracking_uri)
    write_whole(folder.start.weights, artifacts.weights.read_bytes())
    if wanted.with_optimizer:
        write_whole(folder.start.optimizer, _optimizer(source, artifacts).read_bytes())
    write_history(folder.start.history, _history(own_folder(workspace, store), source, mlflow.epochs(run)))
    shutil.rmtree(folder.start.path / "fetched", ignore_errors=True)
    teachers = _teachers(workspace, store, source)
    start = Lineage(run_id=run, experiment=mlflow.run(run).experiment, **asdict(wanted), teachers=teachers)
    write_sealed(folder.start.source, start.model_dump_json())  # last: from here on all is there


def _teachers(workspace: Workspace, store: StudyStore, source: SourceTrial) -> dict[str, PinnedTeacher]:
    """Return what taught a trial, by its name: a reference may mean another one by now."""
    card, copy, name = read_card(own_folder(workspace, store)), store.noted(CARD), source.config.teacher.name
    if card is None and copy is not None:
        card = StudyCard.model_validate(copy)
    return {name: card.teachers[name]} if card is not None and name in card.teachers else {}


def _history(own: StudyFolder, source: SourceTrial, logged: list[EpochMetrics]) -> list[EpochMetrics]:
    """Return the metrics of all epochs of a trial: as logged, or of its folder while some have not arrived in MLflow.

    Raises StudyError where some are still to arrive.
    """
    trial, epochs = own.trial(source.row.number), source.row.epochs
    if len(logged) >= epochs:
        return logged
    kept = [*read_history(own.start.history), *read_history(trial.history)]
    if len(kept) >= epochs:
        return kept
    if trial.path.is_dir():
        raise StudyError(
            f"MLflow has {len(logged)} of the {epochs} epochs of {source.name}; deliver the rest first: sweeper sync "
            f"{source.sweep.study}"
        )
    logger.warning("the metrics of some epochs of %s are lost: %d of %d are there", source.name, len(logged), epochs)
    return logged


def _optimizer(source: SourceTrial, artifacts: TrialArtifacts) -> Path:
    found = artifacts.optimizer
    if found is None:
        raise StudyError(
            f"{source.name} has kept no optimizer state, since `keep_optimizer: true` was not in its search space; "
            "continue without --with-optimizer, with a short scheduler.warmup_epochs perhaps"
        )
    return found


def kept_start(workspace: Workspace, study: StudyFolder) -> TrialStart | None:
    """Return what workers need of a study that continues a trial: its epochs, and the files to start from."""
    start, files = read_lineage(study), study.start
    if start is None:
        return None
    return TrialStart(
        epochs=start.epochs,
        weights=_written(workspace, files.weights),
        optimizer=_written(workspace, files.optimizer) if start.with_optimizer else None,
        unfreezing_after=start.unfreezes_after,
        resizing=start.resizing,
    )


def started_from(workspace: Workspace, sweep: SweepConfig) -> SweepConfig:
    """Return a continuation's sweep with its backbone's weights named, as those of any pretrained backbone are."""
    weights = _written(workspace, workspace.study(sweep.study).start.weights)
    return sweep.model_copy(update={"search": sweep.search.model_copy(update={"pretrained": weights})})


def _written(workspace: Workspace, file: Path) -> str:
    """Write a path as search spaces have it: relative to the working directory, so that the folder may be moved."""
    return str(file.relative_to(workspace.root) if workspace.root == Path.cwd() else file)

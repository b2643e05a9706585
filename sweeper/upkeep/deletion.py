"""Deleting a study: what goes, what stays, and in which order it goes.

MLflow's runs go first and the storage last: as long as the storage knows the study, a deletion that was cut can be
repeated.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeper.addresses import local_path
from sweeper.credentials import hide_credentials
from sweeper.identity import Identity
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialState
from sweeper.search.deletion import remove_study
from sweeper.search.stored_studies import study_names
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, tracking_uri_of
from sweeper.study.chosen_backbones import ranking_study
from sweeper.study.claim import identity_here
from sweeper.study.holding import held_study
from sweeper.study.recorded import own_folder
from sweeper.tracking.deletion import RecordedRuns, recorded_runs, trash_runs
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.upkeep.disk import bytes_in


@dataclass(frozen=True)
class Part:
    """A file or folder, relative to the working directory, and its bytes."""

    path: Path
    bytes: int


@dataclass(frozen=True)
class Deletion:
    """What deleting a study means.

    Attributes:
        trials: How many trials it has, by state.
        files: What is removed from the disk.
        runs: What moves to MLflow's trash; None where it is to stay, or there is nothing.
        run_bytes: What the files of those runs take on this machine.
        tracking_uri: Where MLflow is, without credentials.
        kept: What the study has made for its user, and stays.
        shared: What several studies use, and stays.
        ranking: The study that ranked its backbones, where there is one; it stays.
    """

    study: str
    trials: dict[TrialState, int]
    files: tuple[Part, ...]
    runs: RecordedRuns | None
    run_bytes: int
    tracking_uri: str
    kept: tuple[Part, ...]
    shared: tuple[Part, ...]
    ranking: str | None = None


def plan_deletion(workspace: Workspace, store: StudyStore, tracking_uri: str | None, *, keep_runs: bool) -> Deletion:
    """Return what deleting a study means; nothing is changed. Raises TrackingError, TrackingRefused."""
    study = store.sweep.study
    identity = identity_here(workspace, study) or store.identity
    if keep_runs:  # wherever they are: no credentials are needed to leave them
        card = read_card(workspace.study(study))
        uri, runs = card.tracking_uri if card else default_tracking_uri(workspace), None
    else:
        uri = tracking_uri_of(workspace, study, tracking_uri)
        runs = recorded_runs(_records(workspace, store, uri, identity))
    local = (local_path(run.artifacts) for run in runs.runs) if runs else ()
    return Deletion(
        study=study,
        trials=dict(Counter(row.state for row in store.rows())),
        files=_parts(workspace, (workspace.study(study).path, workspace.tensorboard(study))),
        runs=runs,
        run_bytes=sum(bytes_in(path) for path in local if path is not None),
        tracking_uri=hide_credentials(uri),
        kept=_parts(workspace, _kept(workspace, study)),
        shared=_parts(workspace, (workspace.cache, workspace.features, workspace.kept_weights)),
        ranking=ranking if (ranking := ranking_study(study)) in study_names(store.url) else None,
    )


def delete_study(workspace: Workspace, store: StudyStore, tracking_uri: str | None, *, keep_runs: bool) -> None:
    """Delete a study; may be repeated after it was cut.

    Raises StudyLocked while a driver runs it, StudyNotFound where it is deleted already, ForeignStudy where it belongs
    to another folder, TrackingError where MLflow cannot be reached; nothing is then removed from disk or storage.
    """
    study = store.sweep.study
    with held_study(workspace, store, which="deletes it") as identity:
        if not keep_runs:
            uri = tracking_uri_of(workspace, study, tracking_uri)
            trash_runs(_records(workspace, store, uri, identity))
        folder = workspace.study(study)
        shutil.rmtree(workspace.tensorboard(study), ignore_errors=True)
        _empty(folder)
        remove_study(store.url, study, store.lease_number)
        folder.identity.unlink(missing_ok=True)
        folder.lock.unlink(missing_ok=True)
        with suppress(OSError):  # another process waits for the study, and will find that it is gone
            folder.path.rmdir()


def _records(workspace: Workspace, store: StudyStore, uri: str, identity: Identity | None) -> StudyRecords:
    """Return a study's records as the folder writes them that it belongs to, so that no other folder's are taken."""
    card = read_card(own_folder(workspace, store))
    name = card.experiment if card else store.sweep.tracking.name
    return StudyRecords(MlflowStore(uri, workspace), Recorded.to_write(store.sweep.study, identity, name))


def _empty(folder: StudyFolder) -> None:
    """Remove all but the lock, which is held, and the id, by which a deletion that was cut is gone on with.

    The card, which says where the runs are, goes last.
    """
    for path in sorted(folder.path.iterdir(), key=lambda path: path == folder.sweep):
        if path in (folder.lock, folder.identity):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _kept(workspace: Workspace, study: str) -> Iterator[Path]:
    yield workspace.export(study)
    yield from sorted(workspace.export(study).parent.glob(f"{study}@*"))
    yield workspace.report(study)
    evaluations = workspace.evaluation(study, "").path
    yield evaluations
    yield from sorted(evaluations.parent.glob(f"{study}@*"))
    yield from sorted(workspace.studies.glob(f"{study}~*"))


def _parts(workspace: Workspace, paths: tuple[Path, ...] | Iterator[Path]) -> tuple[Part, ...]:
    return tuple(Part(path.relative_to(workspace.root), bytes_in(path)) for path in paths if path.exists())

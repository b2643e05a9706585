"""Looks at a test split by `sweeper evaluate`: on disk before anybody sees the scores, until MLflow has counted them.

A trial whose run is not in MLflow yet has been looked at all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from sweeper.config.frozen import Frozen
from sweeper.errors import StudyError
from sweeper.files import file_lock, read_parsed, write_sealed
from sweeper.finished.task import Report
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import find_run
from sweeper.study.pretrained import file_digest
from sweeper.study.recorded import own_folder
from sweeper.tracking.test_split_looks import record_test_look, times_looked_at


class KeptLook(Frozen):
    """One look at the test split, which MLflow has not counted yet."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    trial: int
    epoch: int
    metrics: dict[str, float]
    digest: str
    """Of the images."""
    when_ms: int
    files: dict[str, str]
    """What was written, each file with its digest: a later evaluation may have replaced it."""


KEPT = TypeAdapter(list[KeptLook])


def kept_looks(folder: StudyFolder) -> list[KeptLook]:
    """Return the looks that are still to be counted, oldest first. Raises DamagedFile."""
    return read_parsed(folder.looks, KEPT.validate_json) if folder.looks.exists() else []


def keep_look(workspace: Workspace, store: StudyStore, report: Report, files: Sequence[Path], now_ms: int) -> None:
    """Keep a look that a report is of. Raises StudyError for that of an export."""
    if report.trial is None:
        raise StudyError(f"{report.model} is an export and has no run of its own; evaluate its study")
    folder = own_folder(workspace, store)
    look = KeptLook(
        trial=report.trial.number,
        epoch=report.trial.best_epoch or 0,
        metrics=report.values,
        digest=report.digest,
        when_ms=now_ms,
        files=digests(workspace, files),
    )
    with file_lock(workspace.looks_lock, blocking=True):
        write_sealed(folder.looks, KEPT.dump_json([*kept_looks(folder), look]))


def count_looks(workspace: Workspace, store: StudyStore, trial: int, tracking_uri: str | None) -> int:
    """Count the kept looks at a trial in its run, with metrics and files; return how often it has been looked at.

    Raises StudyError when the trial has no run, TrackingError when MLflow cannot be reached.
    """
    folder = own_folder(workspace, store)
    mlflow, run = find_run(workspace, store, store.rows()[trial], tracking_uri)
    with file_lock(workspace.looks_lock, blocking=True):
        for look in kept_looks(folder):
            if look.trial == trial:
                files = list(unchanged(workspace, look.files))
                record_test_look(mlflow, run, look.metrics, look.epoch, files, look.digest, look.when_ms)
                _forget(folder, look)
    return times_looked_at(mlflow, run)  # another process may have counted it


def digests(workspace: Workspace, files: Sequence[Path]) -> dict[str, str]:
    """Return files by their names as they are kept, each with its digest."""
    return {_written(workspace, file.absolute()): file_digest(file) for file in files}


def unchanged(workspace: Workspace, files: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that are as they were when `digests` took them."""
    for written, digest in files.items():
        file = workspace.root / written
        if file.is_file() and file_digest(file) == digest:
            yield file


def _forget(folder: StudyFolder, counted: KeptLook) -> None:
    left = [look for look in kept_looks(folder) if (look.trial, look.when_ms) != (counted.trial, counted.when_ms)]
    if left:
        write_sealed(folder.looks, KEPT.dump_json(left))
        return
    folder.looks.unlink(missing_ok=True)
    with suppress(OSError):  # which holds more, unless the study was run in another folder
        folder.path.rmdir()


def _written(workspace: Workspace, file: Path) -> str:
    """Write a path so that the working directory may be moved."""
    return str(file.relative_to(workspace.root) if file.is_relative_to(workspace.root) else file)

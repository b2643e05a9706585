"""Which run a folder is delivered to, and how far: as noted in the folder, and compared with what MLflow has."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.frozen import Frozen
from sweeper.files import read_parsed, sync_folder
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, read_history
from sweeper.tracking.mlflow_store import MlflowStore


class RunRecord(Frozen):
    """The run a folder is delivered to, and how far."""

    run_id: str
    described: bool = False
    epochs: int = 0
    artifacts: tuple[str, ...] = ()
    status: str = "RUNNING"


def read_record(path: Path) -> RunRecord | None:
    """Return the run that a folder is delivered to; None where none is known. Raises DamagedFile."""
    return read_parsed(path, RunRecord.model_validate_json) if path.exists() else None


def lasting_history(file: Path, record: RunRecord) -> list[EpochMetrics]:
    """Return a history that a power cut does not take back: what it took back would be recorded twice.

    It may just have been put in place, by another process that has not yet made its name last.
    """
    history = read_history(file)
    if len(history) > record.epochs:
        sync_folder(file.parent)
    return history


def lost_weights(store: MlflowStore, record: RunRecord, folder: TrialFolder) -> set[str]:
    """Return the weights of a trial, as names among its artifacts, that MLflow has not got whole though it said so.

    A proxy before it may have answered with a page to log in, which counts as success.
    """
    sizes = {file.relative_to(folder.artifacts).as_posix(): file.stat().st_size for file in folder.weights.glob("*")}
    sent = {name: size for name, size in sizes.items() if name in record.artifacts}
    there = store.sizes_of(record.run_id, folder.weights.name) if sent else {}
    return {name for name, size in sent.items() if there.get(name, 0) not in (size, None)}

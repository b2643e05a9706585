"""How the latest driver of a study has ended, for those who close its run in MLflow when that driver could not.

A study may be finished though trials remain: its time was used up, or it was asked to stop.
"""

from __future__ import annotations

from sweeper.config.frozen import Frozen
from sweeper.config.sweep import SweepConfig
from sweeper.errors import DamagedFile
from sweeper.files import read_parsed, write_sealed
from sweeper.paths import StudyFolder
from sweeper.tracking.run_record import read_record

RUNNING, FINISHED, KILLED, FAILED = "RUNNING", "FINISHED", "KILLED", "FAILED"


class Ending(Frozen):
    """The status of the parent run, as MLflow names it; RUNNING where a driver works, or has died."""

    status: str


def note_ending(folder: StudyFolder, status: str) -> None:
    """Note how the driver ends, before MLflow is told; RUNNING when it begins."""
    write_sealed(folder.ending, Ending(status=status).model_dump_json())


def status_at_rest(folder: StudyFolder, *, whole: bool) -> str:
    """Return the status of the parent run of a study that nobody runs; `whole`: no trial is left to train."""
    if whole:
        return FINISHED
    noted = _noted(folder)
    return KILLED if noted in (None, RUNNING) else str(noted)


def is_finished(folder: StudyFolder, sweep: SweepConfig, *, whole: bool) -> bool:
    """Return whether the search has come to its end: no trial is left, or its time is up where that alone limits it."""
    return whole or (sweep.budget.open_ended and status_at_rest(folder, whole=False) == FINISHED)


def read_ending(folder: StudyFolder) -> str | None:
    """Return what was noted; None of a study that an earlier version has run. Raises DamagedFile."""
    return read_parsed(folder.ending, Ending.model_validate_json).status if folder.ending.exists() else None


def _noted(folder: StudyFolder) -> str | None:
    """Return what was noted; of a study that an earlier version has run, what its run was closed with."""
    try:
        if (noted := read_ending(folder)) is not None:
            return noted
    except DamagedFile:  # nobody knows
        return None
    record = read_record(folder.parent_run)
    return record.status if record else None

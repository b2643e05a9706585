"""One driver a study, wherever its storage is used from: a lease that is renewed, with a number that only grows.

Who takes the lease takes the next number. Every transaction of a driver looks, before it ends, whether the number is
still its own: a driver that was stopped, and has been taken for dead, changes nothing more. Whether a lease has run out
is found by watching it for as long as it lasts, since the clocks of two machines need not agree.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from sweeper.config.frozen import Frozen
from sweeper.errors import StudyLocked, StudyTakenOver
from sweeper.search.as_written import read_as_written
from sweeper.search.attributes import read, swap

logger = logging.getLogger(__name__)

LEASE_S = 60.0
RENEW_S = 15.0
LOOK_S = 1.0  # between two looks at a lease that may have run out
ATTRIBUTE = "lease"
WROTE = "sweeper_wrote"  # noted of a connection whose transaction changes something


class Holder(Frozen):
    """Who runs a study: a process, and the id of the place that it runs in."""

    process: int
    host: str
    user: str
    place: str

    def __str__(self) -> str:
        return f"process {self.process} of {self.user} on {self.host}"


class LeaseRecord(Frozen):
    """The lease as it stands in the storage; `beat` counts renewals, and without a holder it is free."""

    number: int = 0
    beat: int = 0
    holder: Holder | None = None


class Lease:
    """The lease of one study, for a process that wants to write to it."""

    def __init__(self, engine: Engine, study: int, name: str):
        self._engine = engine
        self._study = study
        self._name = name
        self._record = LeaseRecord()
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def number(self) -> int:
        return self._record.number

    def take(self, holder: Holder, is_dead: Callable[[Holder], bool]) -> None:
        """Take the lease and keep it until it is released; from here on every transaction is held to it.

        A holder that `is_dead` is not waited for. Any other is watched for as long as a lease lasts. Raises
        StudyLocked when it shows that it lives.
        """
        while True:
            stored, record = self._read()
            if record.holder is not None and not is_dead(record.holder):
                self._wait_until_it_runs_out(record, record.holder)
            taken = LeaseRecord(number=record.number + 1, holder=holder)
            if swap(self._engine, self._study, ATTRIBUTE, stored, taken.model_dump_json()):
                break
        self._record = taken
        self._fence()
        self._renewal.start()

    def release(self) -> None:
        """Let the next driver have it at once."""
        self._released.set()
        if self._renewal.is_alive():
            self._renewal.join()
        with suppress(StudyTakenOver):  # then it is another's to release, or the study has been deleted
            self._change(LeaseRecord(number=self.number))

    def _read(self) -> tuple[str | None, LeaseRecord]:
        with self._engine.connect() as connection:
            stored = read(connection, self._study, ATTRIBUTE)
        with read_as_written(self._engine):
            return stored, LeaseRecord() if stored is None else LeaseRecord.model_validate_json(stored)

    def _wait_until_it_runs_out(self, seen: LeaseRecord, holder: Holder) -> None:
        logger.warning(
            "the study %s was last run by %s, which has not said that it ended; waiting up to %d s to see whether it "
            "still runs",
            self._name,
            holder,
            LEASE_S,
        )
        until = time.monotonic() + LEASE_S
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            _, now = self._read()
            if now.holder is None:
                return
            if now != seen:
                raise StudyLocked(
                    f"the study {self._name} is being run by {now.holder}; wait for it or end it, or give this search "
                    "space another `study:` name"
                )

    def _keep(self) -> None:
        while not self._released.wait(RENEW_S):
            try:
                self._change(self._record.model_copy(update={"beat": self._record.beat + 1}))
            except StudyTakenOver:
                return  # the driver finds out by itself, at its next write
            except SQLAlchemyError as error:
                logger.debug("the lease of %s could not be renewed: %s", self._name, error)

    def _change(self, to: LeaseRecord) -> None:
        """Write another record of this lease. Raises StudyTakenOver.

        Where a connection broke after its record was written, the storage holds one that is not known here, and is
        this lease's all the same.
        """
        for _ in range(2):
            if swap(self._engine, self._study, ATTRIBUTE, self._record.model_dump_json(), to.model_dump_json()):
                self._record = to
                return
            _, found = self._read()
            if (found.number, found.holder) != (self.number, self._record.holder):
                raise taken_over(self._name, found.holder)
            self._record = found

    def _fence(self) -> None:
        """Hold every transaction that changes something to the number of this lease."""
        event.listen(self._engine, "after_cursor_execute", _note_a_change)
        event.listen(self._engine, "rollback", _forget_changes)
        event.listen(self._engine, "commit", self._require_number)

    def _require_number(self, connection: Connection) -> None:
        if connection.info.pop(WROTE, False):
            require_number(connection, self._study, self._name, self.number)


def require_number(connection: Connection, study: int, name: str, number: int | None) -> None:
    """Raise StudyTakenOver unless the lease still has this number, and keep it so until the transaction ends."""
    stored = read(connection, study, ATTRIBUTE, lock=True)
    with read_as_written(connection.engine):
        record = LeaseRecord() if stored is None else LeaseRecord.model_validate_json(stored)
    if record.number != (number or 0):
        raise taken_over(name, record.holder)


def taken_over(name: str, holder: Holder | None) -> StudyTakenOver:
    by = f" by {holder}" if holder else ""
    return StudyTakenOver(
        f"the study {name} has been taken over{by} while this process did not answer, and goes on there; this "
        "process writes nothing more"
    )


def _note_a_change(connection: Connection, _c: Any, _s: Any, _p: Any, context: Any, _m: bool) -> None:
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        connection.info[WROTE] = True


def _forget_changes(connection: Connection) -> None:
    connection.info.pop(WROTE, None)

"""What the driver and its workers say to each other, whatever carries it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sweeper.engines.packing import DeviceRoom
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec


@dataclass(frozen=True)
class Spread:
    """How the devices of a trial are spread over machines, as one of these sees it.

    Attributes:
        first: The rank of the first device that is here.
        here: How many are here; their ranks follow each other.
        address: Of this machine, where the others reach it.
        meeting: Address of the machine of rank 0, the worker's.
        key: By which the machines of a slot know each other.
    """

    first: int
    here: int
    address: str
    meeting: str
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker knows for its whole life. The sweep travels as JSON: its models are made at run time."""

    sweep: str
    root: str
    folder: str
    slot: int
    threads: int
    device: int = 0
    """Which of the devices, where the search space names none by its number."""
    workers: int | None = None
    """How many there are; None where there are as many as fit in memory, or where others use the devices too."""
    spread: Spread | None = None
    """Where the devices of a trial are, if not all on this machine."""


CANNOT_START_EXIT = 76
"""Exit code of a worker whose device cannot train; the last line it printed says why."""

OUT_OF_MEMORY_EXIT = 77
"""Exit code of a worker that was refused memory and is of no more use after it."""

RANK_LOST_EXIT = 78
"""Exit code of a process that trained a trial together with one that is gone or cannot be reached."""


@dataclass(frozen=True)
class RanksAwaited:
    """A worker waits at a port for the ranks of its trials on other machines."""

    port: int


@dataclass(frozen=True)
class RanksUnmet:
    """Ranks of a worker's trials on other machines have not called it in time; the worker ends."""

    ranks: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class FoldAhead:
    """A fold, counted from 1, that a free worker trains before the worker of its trial comes to it."""

    trial: TrialSpec
    fold: int


@dataclass(frozen=True)
class FoldLeft:
    """A worker no longer trains a fold ahead; if it has trained it, how that ended is on disk."""

    number: int
    fold: int


@dataclass(frozen=True)
class DevicesSeen:
    """A worker has counted the devices that workers are spread over."""

    count: int


@dataclass(frozen=True)
class WorkerReady:
    """A worker has imported what it needs and can take trials."""

    room: DeviceRoom


@dataclass(frozen=True)
class EpochFinished:
    """A trial has finished an epoch and waits for the answer whether to prune."""

    number: int
    metrics: EpochMetrics


@dataclass(frozen=True)
class AtWork:
    """A trial works on something other than an epoch, such as the average of its best ones; it needs no answer."""

    number: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial has ended and its outcome is on disk, or it pauses and may go on later; its worker is free."""

    number: int
    outcome: TrialOutcome


@dataclass(frozen=True)
class WorkerDied:
    """A worker process is gone, and a trial it was on with it; without a number it had none yet."""

    number: int | None
    reason: str
    for_memory: bool = False
    """There is evidence that want of memory was the cause."""
    blameless: bool = False
    """Its machine was lost: this says nothing of the trial, and counts no attempt."""


@dataclass(frozen=True)
class SlotRetired:
    """Workers die in a slot before they can take a trial, again and again; no more are started there."""

    reason: str
    left: int
    """How many slots go on."""
    ranks_lost: bool = False
    """Each time a device on another machine could not be reached: the fault may lie there, or between the two."""


@dataclass(frozen=True)
class DiskTrouble:
    """What a trial or its worker must leave on disk cannot be written; the trial is not at fault.

    Without a number the worker had no trial.
    """

    number: int | None
    message: str


@dataclass(frozen=True)
class ImagesChanged:
    """A worker has found other images than the study began with; what it would train could not be compared."""

    number: int
    message: str


Event = WorkerReady | EpochFinished | AtWork | TrialEnded | WorkerDied | SlotRetired | DiskTrouble | ImagesChanged


Aside = RanksAwaited | RanksUnmet | FoldLeft
"""What a worker says that is no event of the engine."""


class Engine(Protocol):
    """Slots in which trials run."""

    @property
    def idle(self) -> int:
        """How many slots could take a trial now."""

    def submit(self, group: Sequence[TrialSpec]) -> None:
        """Start a group of trials in an idle slot; it is idle again when the last of them has ended."""

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Yield what has happened, waiting at most this long for the first.

        The death of a worker is reported once for each unfinished trial of its group.
        """

    def answer(self, number: int, *, prune: bool) -> None:
        """Answer the `EpochFinished` of a trial."""

    def train_ahead(self, part: FoldAhead) -> bool:
        """Train a fold of a running trial in an idle slot; it is stopped where the trial ends or loses its worker.

        Return whether it does: some engines cannot, and others only while a slot has the trial.
        """

    def give_up(self, number: int, reason: str) -> None:
        """End the worker of a trial; `events` then reports that it died, with this reason."""

    def resize(self, workers: int) -> None:
        """Have this many slots: more workers start now; of too many, each ends as soon as it is on no trial.

        Raises StudyError where an engine cannot.
        """

    def close(self) -> None:
        """End all workers at once; what they were on can be continued from its checkpoints."""

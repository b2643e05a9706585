"""What passes between the driver's end of a slot and the node's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.engines.cluster.carrier import Shipment
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.protocol import Aside, Event, FoldAhead, Spread
from sweeper.results import TrialSpec


@dataclass(frozen=True)
class Plan:
    """What a node needs to know before its slot can take trials.

    Attributes:
        sweep: The search space as JSON, its paths absolute.
        study: Name of the study.
        slot_id: Names this slot and no other, ever: two slots never write to one path.
        node_folder: Where the node keeps decoded images and running trials; empty for its folder of temporary files.
        threads: Threads of the worker, or of the devices of its trials that are on the node.
        images: The guard of the study's images (`data/image_guard.py`); None where there is none.
        files: Model files, by their paths on the driver's machine.
        versions: What the driver runs on.
        shared: Address of a folder that driver and nodes see; None to send files through Ray.
        alone: Whether the device of a trial is its own, so that what fitted in its memory holds for later ones.
        spread: Which of the devices of a trial are on the node; None where all are.
    """

    sweep: str
    study: str
    slot_id: str
    node_folder: str
    threads: int
    images: Shipment | None
    files: Mapping[str, Shipment]
    versions: Versions
    shared: str | None
    alone: bool = True
    spread: Spread | None = None


@dataclass(frozen=True)
class Submit:
    """Train a group of trials.

    Attributes:
        group: The trials.
        folders: What the driver holds of each trial, by its number: files by their path in the trial's folder.
        files: Weights that the trials begin with, by their paths on the driver's machine.
    """

    group: tuple[TrialSpec, ...]
    folders: Mapping[int, Mapping[str, Shipment]]
    files: Mapping[str, Shipment] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Whether to prune a trial after the epoch that it has reported."""

    number: int
    prune: bool


@dataclass(frozen=True)
class GiveUp:
    """End the worker of a trial."""

    number: int
    reason: str


@dataclass(frozen=True)
class Meet:
    """Let the ranks of this node call the worker, which is on another, at this port; what trained before is to end."""

    port: int


@dataclass(frozen=True)
class TrainAhead:
    """Train a fold of a trial that another slot has; `files` as for `Submit`."""

    part: FoldAhead
    files: Mapping[str, Shipment] = field(default_factory=dict)


@dataclass(frozen=True)
class StopAhead:
    """Train no fold of this trial any more; a `FoldLeft` is reported in any case."""

    number: int


@dataclass(frozen=True)
class Reserve:
    """Another slot trains this fold of a trial: its worker, when it comes to it, waits for a `Settle`."""

    number: int
    fold: int


@dataclass(frozen=True)
class Settle:
    """The other slot is done with a fold; without files, the worker of its trial has to train it."""

    number: int
    fold: int
    files: Mapping[str, Shipment]


Command = Submit | Answer | GiveUp | Meet | TrainAhead | StopAhead | Reserve | Settle


@dataclass(frozen=True)
class Report:
    """An event of a node's worker, and the state of its trial's folder at that moment.

    Attributes:
        sequence: Counts the reports of a slot from 1, so that none is lost or taken twice.
        event: What happened.
        changed: Files that are new since the last report, by their path in the trial's folder.
        present: All files of the trial's folder; None where the event is of no trial.
        log: The end of what the worker has printed, where it has died.
    """

    sequence: int
    event: Event | Aside
    changed: Mapping[str, Shipment] = field(default_factory=dict)
    present: frozenset[str] | None = None
    log: str | None = None

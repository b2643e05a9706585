"""The metrics of trials as event files, which TensorBoard shows, beside what MLflow has.

An epoch is one record, and a crash leaves a record whole or without a valid end. What stands whole in
the files of a trial is never written again, so that a trial that is continued has every step once.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sweeper.config.flatten import flatten
from sweeper.config.searched import varied_fields
from sweeper.config.sweep import SweepConfig
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, DiskError, Problem
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec
from sweeper.safeguards.extras import how_to_install

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

HEADER, CHECKSUM = 12, 4  # bytes: a length with its checksum before the content of a record, another after it


class Mark(NamedTuple):
    """What distinguishes a record from all others of its trial."""

    step: int
    tag: str


def event_files(sweep: SweepConfig, workspace: Workspace) -> EventFiles | None:
    """Return where a study's event files go; None where it asks for none. Raises ConfigError without the writer."""
    if not sweep.tracking.tensorboard:
        return None
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        rule = f"event files need a package that is not here ({error}): {how_to_install('tensorboard')}"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "tracking.tensorboard", rule)]) from error
    searched = frozenset(varied_fields(sweep.search))
    return EventFiles(workspace.tensorboard(sweep.study), f"best/{sweep.objective.metric}", searched)


class EventFiles:
    """Writes the event files of one study, a folder for each trial.

    Every method may be called again with the same arguments, by this driver or the next one.

    Args:
        folder: Of the study.
        judged_by: The metric that TensorBoard's table of trials shows beside their hyperparameters.
        searched: The hyperparameters that it shows, by their names in MLflow: those in which trials differ.
    """

    def __init__(self, folder: Path, judged_by: str, searched: Collection[str]):
        self._folder = folder
        self._judged_by = judged_by
        self._searched = searched
        self._trials: dict[int, TrialEvents] = {}

    def trial_started(self, spec: TrialSpec) -> None:
        """Record what a trial is trained with, as far as trials differ in it."""
        from tensorboardX.summary import hparams

        settings = flatten(spec.config.model_dump(mode="json"))
        plain = {
            name: str(value) if isinstance(value, list) else value
            for name, value in settings.items()
            if name in self._searched
        }
        experiment, start, _ = hparams(plain, {self._judged_by: None})
        self._of(spec.number).write([*experiment.value, *start.value], 0, None)

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        """Record the metrics of an epoch."""
        self._of(number).write(_scalars(metrics.values), metrics.epoch, metrics.timestamp_ms)

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        """Record the best epoch and that there will be no further one, and close the file."""
        from tensorboardX.summary import hparams

        _, _, end = hparams({}, {})
        best = {f"best/{name}": value for name, value in outcome.best_metrics.items()}
        events = self._of(number)
        events.write([*end.value, *_scalars(best)], outcome.best_epoch or 0, outcome.timestamp_ms)
        events.close()
        del self._trials[number]

    def close(self) -> None:
        for events in self._trials.values():
            events.close()
        self._trials.clear()

    def _of(self, number: int) -> TrialEvents:
        if number not in self._trials:
            self._trials[number] = TrialEvents(self._folder / f"trial-{number:04d}")
        return self._trials[number]


class TrialEvents:
    """The event files of one trial: a new one for each driver that has something to add."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._known = {_mark(event) for event in read_events(folder)}
        self._writer: EventsWriter | None = None

    def write(self, values: list[Any], step: int, timestamp_ms: int | None) -> None:
        """Append values as one record, and put it on the disk, unless it is there. Raises DiskError."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        event = Event(step=step, summary=Summary(value=values))
        if not values or _mark(event) in self._known:
            return
        if timestamp_ms is not None:
            event.wall_time = timestamp_ms / 1000
        with _disk_errors(self._folder):
            self._writer = self._writer or self._new_file()
            self._writer.write_event(event)
            self._writer.flush()
        self._known.add(_mark(event))

    def _new_file(self) -> EventsWriter:
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(self._folder.glob("events.*")))  # in the name: two drivers may start in the same second
        return EventsWriter(str(self._folder / "events"), f".{earlier}")

    def close(self) -> None:
        if self._writer is not None:
            with _disk_errors(self._folder):
                self._writer.close()


def _scalars(values: Mapping[str, float]) -> list[Any]:
    from tensorboardX.proto.summary_pb2 import Summary

    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]


def _mark(event: Any) -> Mark:
    return Mark(event.step, event.summary.value[0].tag)


def read_events(folder: Path) -> Iterator[Any]:
    """Yield the events with values that stand whole in the files of a folder, oldest file first."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("events.*"), key=_number):
        for record in records(file.read_bytes()):
            event = Event.FromString(record)
            if event.summary.value:
                yield event


def _number(file: Path) -> int:
    """Return the place of a file among those of its trial; others' files come first."""
    ending = file.suffix[1:]
    return int(ending) if ending.isdecimal() else -1


def records(content: bytes) -> Iterator[bytes]:
    """Yield the records of an event file up to the first that is cut off or damaged."""
    from tensorboardX.record_writer import masked_crc32c

    place = 0
    while place + HEADER <= len(content):
        length, checksum = struct.unpack_from("<QI", content, place)
        start, end = place + HEADER, place + HEADER + length
        if masked_crc32c(content[place : place + 8]) != checksum or end + CHECKSUM > len(content):
            return
        record, place = content[start:end], end + CHECKSUM
        if struct.unpack_from("<I", content, end) != (masked_crc32c(record),):
            return
        yield record


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"the event files in {folder} cannot be written: {error.strerror or error}. Free some space, or set "
            "tracking.tensorboard to false, then run the same command again to go on"
        ) from error

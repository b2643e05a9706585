"""How many workers there are, and on which device each: one on every device, or as many as its memory has room for.

A small network leaves most of a GPU idle, and several trials at once fill it. What a trial takes is
not known before it has run, so one runs alone on each device for an epoch; from then on the largest that any
trial of the study has taken counts for all. If that is too little, a batch that does not fit is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

SHARE = 0.9
"""Of the free memory; the rest is for what is not foreseen."""

FRAGMENTATION = 1.2
"""What an allocator holds is more than what it has given out."""


@dataclass(frozen=True)
class DeviceRoom:
    """What a worker finds on its device before its first trial."""

    free_mb: float
    process_mb: float = 0.0
    """What a process takes on the device that is not in the peak of its trials."""
    device: str = ""
    """Its name."""
    useful: int | None = None
    """Trials at once that the device gains from at most; None for as many as have room."""


@dataclass
class Packing:
    """Says how many trials may run at once on each device. Devices are numbered from 0.

    Args:
        most: Trials on all devices together, however small they are.
        each: Most on one device; None for as many as have room.
    """

    most: int
    each: int | None = None
    devices: int = 1
    rooms: dict[int, DeviceRoom] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)
    peak_mb: float = 0.0

    def devices_seen(self, count: int) -> None:
        """Take in how many devices the machine has."""
        self.devices = count

    def worker_ready(self, device: int, room: DeviceRoom) -> None:
        """Take in what the first worker of a device finds; later ones find what others have left."""
        self.rooms.setdefault(device, room)

    def at_most(self, device: int, workers: int) -> None:
        """Take in that no more workers than these can start on a device."""
        self.bounds[device] = workers

    def epoch_finished(self, peak_mb: float) -> None:
        """Take in what a trial has taken, in MB."""
        self.peak_mb = max(self.peak_mb, peak_mb)

    @property
    def trials(self) -> int:
        """How many trials may run at once, on all devices together."""
        return max(1, min(self.most, sum(self.on(device) for device in range(self.devices))))

    def on(self, device: int) -> int:
        """How many of them may run on one device."""
        room = self.rooms.get(device)
        fit = 1
        if room is not None and self.peak_mb:
            fit = max(1, int(SHARE * room.free_mb / (FRAGMENTATION * self.peak_mb + room.process_mb)))
        useful = room.useful if room is not None else None
        bounds = (bound for bound in (self.each, self.bounds.get(device), useful) if bound is not None)
        return min([fit, *bounds])

    def next_device(self, taken: Iterable[int]) -> int | None:
        """Return the device for one more worker beside those that there are; None where there are enough."""
        workers = Counter(taken)
        with_room = [device for device in range(self.devices) if workers[device] < self.on(device)]
        if workers.total() >= self.trials or not with_room:
            return None
        return min(with_room, key=lambda device: (workers[device], device))

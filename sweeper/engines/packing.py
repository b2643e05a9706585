"""How many trials share a device: as many as fit in its memory, found out while they run.

A small network leaves most of a GPU idle, and several trials at once fill it. What a trial takes is
not known before it has run, so one runs alone for an epoch; from then on the largest that any trial
of the study has taken counts for all. Should that be too little, a batch that does not fit is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    devices: int = 1
    """How many like it the workers are spread over."""
    device: str = ""
    """Its name."""


@dataclass
class Packing:
    """Says how many trials may run at once.

    Args:
        most: Trials on all devices together, however small they are.
    """

    most: int
    room: DeviceRoom | None = None
    peak_mb: float = 0.0

    def worker_ready(self, room: DeviceRoom) -> None:
        """Take in what the first worker finds; later ones find what others have left."""
        self.room = self.room or room

    def epoch_finished(self, peak_mb: float) -> None:
        """Take in what a trial has taken, in MB."""
        self.peak_mb = max(self.peak_mb, peak_mb)

    @property
    def trials(self) -> int:
        """How many trials may run at once, on all devices together."""
        if self.room is None:
            return 1
        return max(1, min(self.most, self.room.devices * self._on_each(self.room)))

    def _on_each(self, room: DeviceRoom) -> int:
        if not self.peak_mb:
            return 1
        return max(1, int(SHARE * room.free_mb / (FRAGMENTATION * self.peak_mb + room.process_mb)))

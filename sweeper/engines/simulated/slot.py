"""A simulated worker: where it stands, and the trials that it is on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeper.engines.simulated.progress import SimulatedTrial


@dataclass(eq=False)
class SimulatedSlot:
    """A slot and the worker in it, on a machine with others.

    Args:
        number: Of the slot, from 0.
        machine: Of the machine, from 0.
        slowness: How many times as long as usual an epoch takes here.
        life: Counts the workers of this slot: what was to happen to an earlier one happens no more.
        waiting: Whether the worker waits for the driver's answer.
    """

    number: int
    machine: int
    slowness: float
    life: int = 0
    failed_starts: int = 0
    ready: bool = False
    waiting: bool = False
    trials: deque[SimulatedTrial] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return self.ready and not self.trials

    @property
    def trial(self) -> SimulatedTrial:
        """The trial that the worker is on."""
        return self.trials[0]

    def take(self, trials: Sequence[SimulatedTrial]) -> None:
        self.trials = deque(trials)

    def die(self) -> list[int | None]:
        """Lose the worker and return its unfinished trials; None stands for no trial."""
        lost: list[int | None] = [trial.spec.number for trial in self.trials]
        self.life += 1
        self.ready = self.waiting = False
        self.trials = deque()
        return lost or [None]

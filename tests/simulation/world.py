"""The world of one simulated run: chance, time, and the places in which the driver's process may die.

Everything that happens follows from the seed. Each place is noted, so that two runs of a seed can be compared line by
line.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import getcurrent

from sweeper.engines.simulated.clock import VirtualClock

BEGAN_MS = 1_700_000_000_000


class Killed(BaseException):
    """Stands for the death of the driver's process: nothing catches it."""


class Endless(BaseException):
    """So much has happened that the study will not come to its end."""


MOST_LINES = 50_000


@dataclass(frozen=True)
class Rates:
    """How likely it is that something goes wrong at a place.

    `switch`: that the outbox goes on in between; `back`: that the driver does, while the outbox is on something.
    """

    kill: float = 0.0
    interrupt: float = 0.0
    disk: float = 0.0
    storage: float = 0.0
    server: float = 0.0
    switch: float = 0.2
    back: float = 0.2


@dataclass
class World:
    """Chance and time; `alive` is false between the death of one driver and the start of the next."""

    dice: random.Random
    rates: Rates = Rates()
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(BEGAN_MS))
    alive: bool = False
    happened: list[str] = field(default_factory=list)
    go_on_elsewhere: Callable[[], None] = lambda: None
    """Lets the outbox, which is a thread of the process, take a step."""
    interrupt: Callable[[], None] = lambda: None
    """What Ctrl-C does; the driver sets it."""

    def note(self, what: str) -> None:
        self.happened.append(f"{self.clock():.3f} {what}")

    def place(self, what: str) -> None:
        """Let the process die here, be interrupted, or its other thread go on."""
        if not self.alive:
            raise Killed  # a dead process does nothing more
        if len(self.happened) > MOST_LINES:
            raise Endless
        drawn = self.dice.random()
        if drawn < self.rates.kill:
            self.note(f"killed at {what}")
            self.alive = False
            raise Killed
        self.note(what)
        if drawn < self.rates.kill + self.rates.interrupt:
            self.note("interrupted")
            self.interrupt()
        if self.chance(self.rates.back if getcurrent().parent else self.rates.switch):
            self.go_on_elsewhere()

    def chance(self, rate: float) -> bool:
        return self.dice.random() < rate

"""Threads that take turns where the simulation says so, in place of those of the system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from greenlet import getcurrent, greenlet

from tests.simulation.world import Killed, World


@dataclass
class Threads:
    """Stands for the module `threading`: what it makes goes on when the world lets it."""

    world: World
    made: list[Thread] = field(default_factory=list)

    def Thread(self, target: Callable[[], None], name: str, daemon: bool) -> Thread:  # noqa: N802
        self.made.append(thread := Thread(self.world, greenlet(target)))
        return thread

    def Condition(self) -> Condition:  # noqa: N802
        return Condition(self.world)

    def Event(self) -> threading.Event:  # noqa: N802
        return threading.Event()  # it is looked at, and never waited for

    def take_turns(self) -> None:
        """Let the driver's other threads go on, or, in one of them, the driver."""
        if (driver := getcurrent().parent) is not None:
            driver.switch()
            return
        for thread in self.made:
            if thread.started:
                thread.go_on()

    def kill(self) -> None:
        """End what is left of a process; nothing of it writes any more."""
        for thread in self.made:
            if thread.started and not thread.let.dead:
                with suppress(Killed):
                    thread.let.throw(Killed)
        self.made.clear()


@dataclass
class Thread:
    """One that runs until it waits."""

    world: World
    let: greenlet
    started: bool = False

    def start(self) -> None:
        self.started = True

    def go_on(self) -> None:
        if not self.let.dead:
            self.let.switch()

    def is_alive(self) -> bool:
        return not self.let.dead

    def join(self, timeout: float) -> None:
        self.world.clock.advance_to(self.world.clock() + timeout)
        self.go_on()


@dataclass
class Condition:
    """Waits by letting others go on; nothing runs at the same time, so that it needs no lock."""

    world: World

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def notify(self) -> None: ...

    def notify_all(self) -> None: ...

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        deadline = self.world.clock() + timeout
        while not predicate():
            if self.world.clock() >= deadline:
                return False
            driver = getcurrent().parent
            assert driver is not None, "the driver itself does not wait"
            driver.switch()
        return True

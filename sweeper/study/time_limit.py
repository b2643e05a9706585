"""When a driver starts no more trials for want of time, and what it does about those that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Protocol

from sweeper.results import Cut, EpochMetrics, TrialSpec

Clock = Callable[[], float]
"""Gives seconds, as `time.monotonic` does; of a simulation those in which its trials run."""


def seconds_awake_or_asleep() -> float:
    """Return seconds that pass while the machine sleeps too; those of `time.monotonic` do so on Windows alone."""
    if sys.platform == "win32":
        now = time.monotonic()
    else:
        now = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))  # macOS has the latter alone
    return now


class TimeLimit(Protocol):
    """Watches the trials of one run of a driver, and says what the time still allows.

    What a limit does not look at has a default here, which changes nothing.

    Attributes:
        clock: Counts the time that a run has used, where the limit knows better than its driver.
        needs_model: Whether a trial has to be complete at the end, also where somebody asks the search to stop.
        finishes_begun: Whether trials that were interrupted still go on when no more are started.
    """

    clock: Clock | None = None
    needs_model: bool = False
    finishes_begun: bool = True

    def used_up(self) -> str | None:
        """Return why no more trials are started, or None while they may be."""

    def over(self) -> bool:
        """Return whether the trials that still run are left as they are."""
        return False

    def delivery_s(self) -> float:
        """Return how long records may take to arrive in MLflow after the last trial; the rest stays on disk."""
        return inf

    def group_started(self, group: Sequence[TrialSpec]) -> None:  # noqa: ARG002
        """Take in that a worker was given trials."""
        return

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> int | None:  # noqa: ARG002
        """Take in an epoch; return how many each trial has from now on, where that changes."""
        return None

    def waited(self, trials: Collection[int]) -> None:  # noqa: ARG002
        """Take in that these trials go on after they have waited since their last epoch, for no fault of theirs."""
        return

    def cut(self, spec: TrialSpec, metrics: EpochMetrics) -> Cut | None:  # noqa: ARG002
        """Return why a trial that could go on ends with this epoch, or None where it goes on."""
        return None

    def trial_ended(self, number: int, *, complete: bool) -> None:  # noqa: ARG002
        """Take in that a trial is no longer on its worker, and whether it is complete."""
        return


class Timeout(TimeLimit):
    """After this number of seconds no more trials start; those that run or were interrupted are finished.

    None for no limit.
    """

    def __init__(self, seconds: float | None, used_s: float, clock: Clock):
        self._seconds = seconds
        self._end = None if seconds is None else clock() + seconds - used_s
        self._clock = clock

    def used_up(self) -> str | None:
        over = self._end is not None and self._clock() >= self._end
        return f"the time of {self._seconds:g} s is used up" if over else None


class TimeUsed:
    """Counts how long a driver has run, by `clock`; `add` stores seconds beside those that are known."""

    def __init__(self, add: Callable[[float], None], clock: Clock):
        self._add, self._clock = add, clock
        self._counted = clock()

    def count(self, at_least: float = 0.0) -> None:
        """Store what has passed since the last time, if that is this much."""
        now = self._clock()
        if now - self._counted >= at_least:
            self._add(now - self._counted)
            self._counted = now

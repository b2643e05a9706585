"""How far work has come that is no epoch, and how long it still takes: a line now and then, for pipes and log files."""

from __future__ import annotations

import time
from collections.abc import Callable

BETWEEN_S = 10.0
"""Seconds between two lines; shorter work gets no line."""


class Pace:
    """Counts what is done of a whole, and says so from time to time.

    Args:
        what: The work, such as `decoding images`.
        say: Prints a line.
        clock: In seconds.
    """

    def __init__(self, what: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._what = what
        self._say = say
        self._clock = clock
        self._begin(0)

    def _begin(self, done: int) -> None:
        self._from, self._done = done, done
        self._started = self._told = self._clock()

    def __call__(self, done: int, total: int) -> None:
        """Take how much is done of how much; a smaller number than before begins anew.

        The clock of the time left starts with the first that is done, since what comes before is preparation.
        """
        if done < self._done:
            self._begin(done)
        elif done and not self._done:
            self._from, self._started = done, self._clock()
        self._done = done
        if self._clock() - self._told >= BETWEEN_S:
            self._told = self._clock()
            self._say(f"{self._what}: {self.told(done, total)}")

    def told(self, done: int, total: int) -> str:
        """Return `300 of 1,000, 12s left`, without the time before anything is done; `300 so far` for a total of 0."""
        from sweeper.display.tables import duration  # only now: what it imports takes a while, and --help needs none

        if not total:
            return f"{done:,} so far"
        passed = self._clock() - self._started
        since = done - self._from
        left = f", {duration(passed * (total - done) / since)} left" if since > 0 and passed >= 1 else ""
        return f"{done:,} of {total:,}{left if done < total else ''}"

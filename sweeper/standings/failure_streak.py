"""When failures stop a study: several in a row, all for the same reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import itemgetter

from sweeper.results import TrialOutcome, TrialRow, TrialState


class FailureStreak:
    """Counts failed trials in a row that failed for the same reason."""

    def __init__(self, limit: int):
        self.limit = limit
        self._reason: str | None = None
        self._length = 0

    def recall(self, rows: Iterable[TrialRow]) -> None:
        """Take in the trials of earlier runs. A streak that has stopped the study is over: it is run again."""
        ended = [(row.number, row.outcome) for row in rows if row.ended_ms and row.outcome]
        for _, outcome in sorted(ended, key=itemgetter(0)):  # and not by their times: a clock may have been set
            if self.count(outcome):
                self._length = 0

    def count(self, outcome: TrialOutcome) -> bool:
        """Take in an outcome; True when the streak has reached the limit."""
        if not outcome.feasible:
            return False  # says nothing of whether others fail
        if outcome.state is not TrialState.FAILED:
            self._length = 0
            return False
        kind = kind_of_failure(outcome.reason or "")
        self._length = self._length + 1 if kind == self._reason else 1
        self._reason = kind
        return self._length >= self.limit


def kind_of_failure(reason: str) -> str:
    """Return the reason without its figures, which differ from trial to trial."""
    return re.sub(r"(?<!\w)-?(\d[\d.]*(e[+-]?\d+)?|inf|nan)", "#", reason)

"""A moment at which the best model is to be there, exported: what the time until then is used for.

The search comes first. The rest is kept: for exporting the best trial, for training the best few again with fresh
seeds, and for exporting once more where that shows another one to be the best. All of it follows from how fast this
machine has trained so far, and is worked out anew whenever it is asked for.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sweeper.config.searched import highest, options
from sweeper.results import Cut, EpochMetrics, TrialSpec
from sweeper.study.pace import Pace
from sweeper.study.time_limit import Clock, TimeLimit, TimeUsed, seconds_awake_or_asleep

logger = logging.getLogger(__name__)

CONFIRMING = 0.25
"""The most of the whole time that is kept for training the best trials again."""

AFTER_THE_SEARCH = 0.5
"""The most of it that is kept for a confirmation and the exports before and after it; else the search has that time."""

COUNTED_EVERY_S = 10.0
"""What a kill can take at most from the count of the time of a confirmation."""

LEADERS = ((5, 15), (4, 12), (3, 6), (2, 4))
"""How many of the best are trained again, and how many repetitions must fit for that."""

MOST_SEEDS = 10
TIMES_THE_SEEDS = 2
"""Times as many fresh seeds as fit by what has been measured are planned, since trials may turn out quicker."""

WORKER_START_S = 10.0
REPORT_S = 5.0
LEAST_DELIVERY_S = 5.0
"""For MLflow, even where no time is left: without trouble it takes a second or two."""

EXPORT_S = 25.0
"""An export with all its checks, where neither one has been timed nor its network."""

MOST_FOR_EXPORT = 0.5
"""The most of the whole time that is kept for an export."""

RESERVE = 1.15
"""How much longer than the last time anything may take."""

LATE_TRIALS = 5
"""Trials that may leave their workers after the deadline, where none is complete: then no further one is begun."""

LEAST_TRIALS = 8
"""Whole trials that must fit into the search, on each worker; otherwise each has fewer epochs."""


class ExportTime(Protocol):
    """Expects how long the export of a trial takes, by the trials that have begun and those that are complete."""

    def begun(self, spec: TrialSpec) -> None: ...

    def complete(self, spec: TrialSpec) -> None: ...

    def seconds(self) -> float | None:
        """Return the seconds of an export with all its checks; None while that is not known."""


class Confirming(NamedTuple):
    """How many of the best trials are trained again, and with how many fresh seeds at most."""

    leaders: int
    seeds: int


class Deadline:
    """When a model is to be there.

    Args:
        clock: Gives seconds; by default those that pass, also while the machine sleeps.
        seconds: How long it is from the start.
        passed: How much of that is gone.
        of_study: Whether it counts the time that earlier runs of the command have spent; otherwise it is a moment.
    """

    def __init__(self, clock: Clock | None, seconds: float, *, of_study: bool = True, passed: float = 0.0):
        self.clock = clock or seconds_awake_or_asleep
        self._end = self.clock() + seconds - passed
        self._seconds = seconds
        self._of_study = of_study
        self._export_s = EXPORT_S
        self._used: TimeUsed | None = None
        self._too_long = False
        self.pace = Pace(clock or time.monotonic)  # no trial is slow because the machine slept

    def count_earlier(self, seconds: float) -> None:
        """Subtract the time that earlier runs of the command have spent on the study."""
        if self._of_study:
            self._end -= seconds

    @property
    def spent_s(self) -> float:
        """Seconds of the whole time that are gone, those of earlier runs included."""
        return self._seconds - self.left_s

    def count_into(self, add: Callable[[float], None]) -> None:
        """Let `add` store, from now on, the seconds that `count_used` finds to have passed."""
        self._used = TimeUsed(add, self.clock)

    def count_used(self, at_least: float = 0.0) -> None:
        if self._used is not None:
            self._used.count(at_least)

    def expect_export(self, seconds: float) -> None:
        """Take in how long an export is expected to take; no more than half of the whole time is kept for it."""
        most = MOST_FOR_EXPORT * self._seconds
        if seconds > most and not self._too_long:
            self._too_long = True
            logger.warning("an export takes about %.0f s, and half of the time is kept: expect a late end", seconds)
        self._export_s = min(seconds, most)

    def exported(self, seconds: float) -> None:
        """Take in how long the first export has taken."""
        self._export_s = seconds * RESERVE

    def told(self) -> str:
        """Say by when the model is to be there, and what comes before."""
        now = datetime.now()
        when = datetime.fromtimestamp(time.time() + self.left_s)  # by the clock on the wall, over a change of it too
        moment = f"{when:%H:%M:%S}" if when.date() == now.date() else f"{when:%Y-%m-%d %H:%M}"
        return f"{moment}; the search, then the best trials again with fresh seeds, then the export"

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._end - self.clock()

    @property
    def finish_s(self) -> float:
        """Seconds that the last export, the registration and the report need."""
        return self._export_s + REPORT_S

    def search_left_s(self, epochs: int) -> float:
        """Return how long the search may still go on, where a trial has this number of epochs.

        A second export is kept time for only where something may come between the two.
        """
        confirming_s = self._confirming_s(epochs)
        before_it = self._export_s + confirming_s if confirming_s else 0.0
        return self.left_s - before_it - self.finish_s

    def _confirming_s(self, epochs: int) -> float:
        share, trial_s = CONFIRMING * self._seconds, self.pace.trial_s(epochs)
        share = min(share, AFTER_THE_SEARCH * self._seconds - 2 * self._export_s)
        if trial_s is None or share <= 0:
            return max(0.0, share)
        wanted, least = (
            WORKER_START_S + RESERVE * trial_s * math.ceil(repetitions / self.pace.at_once)
            for repetitions in (LEADERS[0][1], LEADERS[-1][1])
        )
        return min(share, wanted) if least <= share else 0.0

    def confirming(
        self, epochs: int, complete: int, done_of: Callable[[int], Sequence[int]] | None = None
    ) -> Confirming | None:
        """Return which trainings with fresh seeds fit into the time that is left; None where too few do.

        `complete`: how many trials are complete; the best of them are trained again. `done_of`: gives for a number of
        leaders how often each of the trials that are then trained again was so by earlier runs; by default none.
        """
        trial_s = self.pace.trial_s(epochs) or self.pace.earlier_trial_s(epochs)
        if trial_s is None:
            return None
        left_s = self.left_s - self.finish_s - WORKER_START_S
        fitting = max(0, math.floor(left_s / (RESERVE * trial_s))) * self.pace.at_once
        for leaders, least in LEADERS:
            done = done_of(leaders) if done_of is not None else [0] * leaders
            if leaders <= complete and _lacking(done, least // leaders) <= fitting:
                most = (seeds for seeds in range(MOST_SEEDS + 1) if _lacking(done, seeds) <= TIMES_THE_SEEDS * fitting)
                return Confirming(leaders, max(most))
        return None


def _lacking(done: Sequence[int], seeds: int) -> int:
    """Return how many trainings are missing until each trial was trained with this number of seeds."""
    return sum(max(0, seeds - already) for already in done)


def growth(first: float) -> float:
    """Return by how much the mean area of a trial's images is larger than that of its first ones.

    `first`: the side of these as a part of the whole, which is reached after two thirds of the epochs.
    """
    while_growing = (1 + first + first**2) / 3
    return (2 * while_growing + 1) / 3 / first**2


def least_epochs(search: Any) -> int:
    """Return the fewest epochs with which the backbone begins to learn, and the learning rate is reached."""
    heads = [highest(option.head_epochs) + 1 for option in options(search.unfreezing)]
    warmups = [highest(option.warmup_epochs) for option in options(search.scheduler)]
    return math.ceil(max(1.0, *heads, *warmups))


class SearchLimit(TimeLimit):
    """The part of the time before a deadline in which trials are searched.

    While no trial is complete, of this run or an earlier one, the search goes on past the deadline, since there has to
    be a model; but not for ever.

    Args:
        deadline: When the model is to be there.
        epochs: The most that a trial has.
        settled: Whether that number may no longer change.
        least: The fewest epochs with which the backbone begins to learn, and the learning rate is reached.
        complete: Whether an earlier run has left a complete trial.
        export_time: Expects how long an export takes.
    """

    needs_model = True
    finishes_begun = False

    def __init__(
        self,
        deadline: Deadline,
        epochs: int,
        *,
        settled: bool,
        least: int = 1,
        complete: bool = False,
        export_time: ExportTime | None = None,
    ):
        self.clock = deadline.clock  # so that a run that goes on keeps to the same time
        self._deadline = deadline
        self._pace = deadline.pace
        self._epochs = epochs
        self._settled = settled
        self._least = min(least, epochs)
        self._complete = complete
        self._export_time = export_time
        self._running: dict[int, TrialSpec] = {}
        self._late = 0

    def used_up(self) -> str | None:
        if self._export_time is not None and (export_s := self._export_time.seconds()) is not None:
            self._deadline.expect_export(export_s)
        if not self._complete:
            late = self._late >= LATE_TRIALS
            return f"the time is used up, and none of the latest {LATE_TRIALS} trials is complete" if late else None
        left_s, trial_s = self._deadline.search_left_s(self._epochs), self._pace.trial_s(self._epochs)
        if left_s <= 0:
            return "the time for the search is used up"
        if trial_s is not None and trial_s > left_s:
            return f"a trial takes about {math.ceil(trial_s)} s, and {math.floor(left_s)} s are left for the search"
        return None

    def over(self) -> bool:
        return self._complete and self._deadline.left_s < self._deadline.finish_s

    def delivery_s(self) -> float:
        return max(LEAST_DELIVERY_S, self._deadline.search_left_s(self._epochs))

    def group_started(self, group: Sequence[TrialSpec]) -> None:
        self._running |= {spec.number: spec for spec in group}
        if self._export_time is not None:
            for spec in group:
                self._export_time.begun(spec)
        self._pace.group_started(group)

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> int | None:
        self._pace.epoch_finished(number, metrics)
        spec = self._running.get(number)
        waits = spec is not None and metrics.epoch - spec.epochs_before <= spec.config.unfreezing.head_epochs
        if self._settled or waits:  # the next epochs take longer than those in which the head alone learns
            return None
        self._settled = True
        longer = 1.0 if spec is None else growth(spec.config.progressive_resizing)
        head_first = spec is not None and spec.config.unfreezing.head_epochs > 0
        epoch_s = self._pace.last_epoch_s(number) if head_first else self._pace.epoch_s
        planned = self._plan(longer * (epoch_s or 0.0))
        if planned == self._epochs:
            return None
        self._epochs = planned
        return planned

    def _plan(self, epoch_s: float) -> int:
        """Return how many epochs a trial has that take this long, so that enough of them fit into the search."""
        if not epoch_s:
            return self._epochs
        fitting = self._deadline.search_left_s(self._epochs) / LEAST_TRIALS / epoch_s
        return max(self._least, min(self._epochs, math.floor(fitting)))

    def waited(self, trials: Collection[int]) -> None:
        self._pace.waited(trials)

    def cut(self, spec: TrialSpec, metrics: EpochMetrics) -> Cut | None:
        if metrics.epoch == spec.epochs:
            return None
        next_s = RESERVE * self._pace.last_epoch_s(spec.number)
        if metrics.epoch != spec.until and next_s > self._deadline.search_left_s(self._epochs):
            why = f"ended after epoch {metrics.epoch} of {spec.epochs}: the time for the search is used up"
            return Cut(why=why, complete=True)
        if spec.epochs > self._epochs:
            why = f"ended after epoch {metrics.epoch}: {spec.epochs} epochs are too many for the time, "
            return Cut(why=f"{why}it is trained again with {self._epochs}", again=True)
        return None

    def trial_ended(self, number: int, *, complete: bool) -> None:
        self._complete |= complete
        self._late += self._deadline.left_s < 0
        spec = self._running.pop(number, None)
        if complete and spec is not None and self._export_time is not None:
            self._export_time.complete(spec)
        self._pace.trial_ended(number)


class ConfirmingLimit(TimeLimit):
    """The part of the time before a deadline in which the best trials are trained again."""

    finishes_begun = False

    def __init__(self, deadline: Deadline, epochs: int):
        self._deadline = deadline
        self._epochs = epochs

    def used_up(self) -> str | None:
        self._deadline.count_used(COUNTED_EVERY_S)
        pace = self._deadline.pace
        trial_s = pace.trial_s(self._epochs) or pace.earlier_trial_s(self._epochs) or 0.0
        left_s = self._deadline.left_s - self._deadline.finish_s
        return "no further repetition fits before the deadline" if trial_s > left_s else None

    def over(self) -> bool:
        return self._deadline.left_s < self._deadline.finish_s

    def delivery_s(self) -> float:
        return max(LEAST_DELIVERY_S, self._deadline.left_s - self._deadline.finish_s)

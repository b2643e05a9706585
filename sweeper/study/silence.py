"""Workers from which nothing has come for longer than epochs take: a stopped process, a hung disk, a dead GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sweeper.tracking.outbox import AwakeClock

TIMES_AN_EPOCH = 5.0
LEAST_S = 60.0
WITHOUT_AN_EPOCH_S = 600.0
"""Before any epoch of the study has ended: weights may be loaded meanwhile, images placed, features computed."""


@dataclass(eq=False)
class Worker:
    """A worker's trials, when it was last heard of, and when its silence is reported next; in seconds of the clock."""

    trials: list[int]
    heard_at: float
    report_at: float


class Silence:
    """Keeps the time since each busy worker was last heard of.

    Args:
        limit_s: Seconds of silence after which a worker is given up; None for never.
        clock: Gives seconds; by default one that stands still while the machine sleeps or this process is stopped,
            and its workers with it: it has not waited for them.
    """

    def __init__(self, limit_s: float | None, clock: Callable[[], float] | None = None):
        self._limit_s = limit_s
        self._clock = clock or AwakeClock()
        self._workers: list[Worker] = []
        self._longest_s: float | None = None

    def group_started(self, trials: Sequence[int]) -> None:
        """Take in that a worker was given trials."""
        now = self._clock()
        self._workers.append(Worker(list(trials), now, now + self._silence_s))

    def epoch_finished(self, trial: int) -> None:
        """Take in an epoch. The longest wait for one, of any worker, says what is usual."""
        for worker in self._of(trial):
            now = self._clock()
            self._longest_s = max(self._longest_s or 0.0, now - worker.heard_at)
            worker.heard_at, worker.report_at = now, now + self._silence_s

    def at_work(self, trial: int) -> None:
        """Take in a sign of life that is no epoch, and says nothing of how long one takes."""
        for worker in self._of(trial):
            worker.heard_at = self._clock()
            worker.report_at = worker.heard_at + self._silence_s

    def trial_ended(self, trial: int) -> None:
        """Take in that a trial is no longer on its worker."""
        for worker in self._of(trial):
            worker.trials.remove(trial)
            worker.heard_at = self._clock()
        self._workers = [worker for worker in self._workers if worker.trials]

    def begin_again(self) -> None:
        """Count from now: nothing was to be heard for a while."""
        now = self._clock()
        for worker in self._workers:
            worker.heard_at, worker.report_at = now, now + self._silence_s

    def _of(self, trial: int) -> list[Worker]:
        return [worker for worker in self._workers if trial in worker.trials]

    @property
    def _silence_s(self) -> float:
        return WITHOUT_AN_EPOCH_S if self._longest_s is None else max(LEAST_S, TIMES_AN_EPOCH * self._longest_s)

    def news(self) -> Iterator[tuple[int, float]]:
        """Yield a trial of each worker that is silent for long, and the seconds; again when they have doubled."""
        now = self._clock()
        for worker in self._workers:
            if now >= worker.report_at:
                silent = now - worker.heard_at
                worker.report_at = worker.heard_at + 2 * silent
                yield worker.trials[0], silent

    def overdue(self) -> list[int]:
        """Return a trial of each worker that is to be given up."""
        if self._limit_s is None:
            return []
        now = self._clock()
        return [worker.trials[0] for worker in self._workers if now - worker.heard_at >= self._limit_s]

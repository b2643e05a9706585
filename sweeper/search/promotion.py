"""Which paused trial goes on: asynchronous successive halving with pauses in place of ends.

Every trial pauses at the next rung, a number of epochs. Of those that have reached a rung the best `keep` go on to the
next one, each as soon as it belongs to them, so that no worker waits for others (Li et al., arXiv 1810.05934). With
one early rung this is the one-epoch rule of Egele et al., arXiv 2307.15422. A paused trial is not lost: it goes on
later if it belongs to the best then, or if one of those has ended before the next rung. All follows from what is
stored of the trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from optuna.trial import FrozenTrial

from sweeper.config.pruner import PromoteConfig
from sweeper.search.stored_trial import FINISHED, paused_after

FIRST = 10
"""The only rung, unless others are named, is after this part of the epochs."""


@dataclass(frozen=True)
class Standing:
    """A trial as it stands among the others.

    Attributes:
        number: Which trial.
        values: The objective after each epoch; higher is better.
        paused: The last epoch of one that is paused.
        ended: Whether it has ended.
    """

    number: int
    values: dict[int, float]
    paused: int | None = None
    ended: bool = False

    @property
    def epochs(self) -> int:
        return max(self.values, default=0)

    def best_until(self, epoch: int) -> float:
        return max((value for known, value in self.values.items() if known <= epoch), default=-inf)


class Promotion:
    """The rungs of a study, and who goes on from them."""

    def __init__(self, config: PromoteConfig, epochs: int):
        self._keep = config.keep
        self._rungs = rungs(config, epochs)
        self._epochs = epochs

    def after(self, epoch: int) -> int:
        """Return where a trial pauses that goes on after this epoch; the last epoch of all is its end."""
        return next((rung for rung in self._rungs if rung > epoch), self._epochs)

    def next(self, trials: Sequence[Standing], *, last: bool) -> int | None:
        """Return the number of the trial that goes on, None where none does yet.

        `last`: no other trial runs or will be started. Then at least one goes on, even where `keep` of few trials is
        less than one.
        """
        for rung in reversed(self._rungs):
            if (number := self._promoted(trials, rung)) is not None:
                return number
        for rung in self._rungs if last else ():
            if (number := self._promoted(trials, rung, at_least=1)) is not None:
                return number
        return None

    def _promoted(self, trials: Sequence[Standing], rung: int, at_least: int = 0) -> int | None:
        """Return the best paused trial of a rung that is among those that go on from there, at least this many."""
        reached = [trial for trial in trials if trial.epochs >= rung]
        in_race = sorted(
            (trial for trial in reached if not self._dropped_out(trial, rung)),
            key=lambda trial: (-trial.best_until(rung), trial.number),
        )
        places = int(self._keep * len(reached) + 1e-9)
        if at_least and not any(trial.epochs > rung for trial in in_race):
            places = max(at_least, places)
        waiting = (trial for trial in in_race[:places] if trial.paused is not None)
        return next((trial.number for trial in waiting if self.after(trial.paused or 0) == self.after(rung)), None)

    def _dropped_out(self, trial: Standing, rung: int) -> bool:
        """Return whether a trial has ended between this rung and the next: its place is free."""
        return trial.ended and trial.epochs < self.after(rung)


def rungs(config: PromoteConfig, epochs: int) -> tuple[int, ...]:
    """Return after which epochs trials pause, before the last one."""
    found = config.rungs if config.rungs is not None else (max(1, epochs // FIRST),)
    return tuple(sorted({rung for rung in found if rung < epochs}))


def standings(trials: Iterable[FrozenTrial], *, maximize: bool) -> list[Standing]:
    """Return how the trials of a study stand."""
    sign = 1 if maximize else -1
    return [
        Standing(
            number=trial.number,
            values={epoch: sign * value for epoch, value in trial.intermediate_values.items()},
            paused=paused_after(trial),
            ended=trial.state in FINISHED,
        )
        for trial in trials
    ]

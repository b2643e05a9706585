"""Which paused trial goes on: asynchronous successive halving with pauses in place of ends.

Every trial pauses at the next rung, a number of epochs. Of those that have reached a rung the best `keep` go on to the
next one, each as soon as it belongs to them, so that no worker waits for others (Li et al., arXiv 1810.05934). With
one early rung this is the one-epoch rule of Egele et al., arXiv 2307.15422. A paused trial is not lost: it goes on
later if it belongs to the best then, or if one of those has ended before the next rung. All follows from what is
stored of the trials.

Of several objectives those are the best that no other beats in all of them, then those that only these beat, and so on
(the fronts of NSGA-II, Deb et al., IEEE Transactions on Evolutionary Computation 6, 2002). Within a front the trials
that are far from the others in objectives go first, its ends before all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import numpy.typing as npt
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.config.pruner import PromoteConfig, rungs
from sweeper.search.stored_trial import FINISHED, GOALS, OUTSIDE, paused_after


@dataclass(frozen=True)
class Standing:
    """A trial as it stands among the others.

    Attributes:
        number: Which trial.
        values: The objective after each epoch; higher is better.
        paused: The last epoch of one that is paused.
        ended: Whether it has ended.
        complete: Whether that was its own end, and nothing went wrong.
        goals: Of several objectives, what each was when the trial paused, by epoch; lower is better.
    """

    number: int
    values: dict[int, float]
    paused: int | None = None
    ended: bool = False
    complete: bool = False
    goals: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return max(self.values, default=0)

    def best_until(self, epoch: int) -> float:
        return max((value for known, value in self.values.items() if known <= epoch), default=-inf)


class Promotion:
    """The rungs of a study, and who goes on from them; arguments as of `rungs`."""

    def __init__(self, config: PromoteConfig, epochs: int, before: int = 0):
        self._keep = config.keep
        self._rungs = rungs(config, epochs, before)
        self._epochs = epochs

    def after(self, epoch: int) -> int:
        """Return where a trial pauses that goes on after this epoch; the last epoch of all is its end."""
        return next((rung for rung in self._rungs if rung > epoch), self._epochs)

    def next(self, trials: Sequence[Standing], *, last: bool, one: bool = False) -> int | None:
        """Return the number of the trial that goes on, None where none does yet.

        `last`: no other trial runs or will be started. Then at least one goes on, even where `keep` of few trials is
        less than one. `one`: it is wanted for that alone, and nobody else is to go on.
        """
        on_the_way = self._on_the_way(trials)
        if on_the_way is not None and not one:
            return on_the_way
        for rung in reversed(self._rungs):
            if (number := self._promoted(trials, rung)) is not None:
                return number
        for rung in self._rungs if last else ():
            if (number := self._promoted(trials, rung, at_least=1)) is not None:
                return number
        return on_the_way

    def _on_the_way(self, trials: Sequence[Standing]) -> int | None:
        """Return the best trial that has paused before the last rung, but at none: the rungs were others then."""
        at_none = (trial for trial in trials if trial.paused is not None and trial.paused not in self._rungs)
        before = [trial for trial in at_none if self.after(trial.paused or 0) in self._rungs]
        best = max(before, key=lambda trial: (trial.best_until(trial.paused or 0), -trial.number), default=None)
        return None if best is None else best.number

    def _promoted(self, trials: Sequence[Standing], rung: int, at_least: int = 0) -> int | None:
        """Return the best paused trial of a rung that is among those that go on from there, at least this many."""
        reached = [trial for trial in trials if trial.epochs >= rung]
        in_race = best_first([trial for trial in reached if not self._dropped_out(trial, rung)], rung)
        places = int(self._keep * len(reached) + 1e-9)
        if at_least and not any(trial.epochs > rung for trial in in_race):
            places = max(at_least, places)
        waiting = (trial for trial in in_race[:places] if trial.paused is not None)
        return next((trial.number for trial in waiting if self.after(trial.paused or 0) == self.after(rung)), None)

    def _dropped_out(self, trial: Standing, rung: int) -> bool:
        """Return whether a trial has ended between this rung and the next: its place is free.

        After the last rung one that is complete keeps it: there is nothing further that it could have come to.
        """
        following = self.after(rung)
        return trial.ended and trial.epochs < following and not (trial.complete and following == self._epochs)


def best_first(trials: Sequence[Standing], rung: int) -> list[Standing]:
    """Return trials in the order in which they go on from a rung; those without all objectives there come last."""
    judged = [trial for trial in trials if rung in trial.goals]
    if not judged:
        return sorted(trials, key=lambda trial: (-trial.best_until(rung), trial.number))
    points = np.array([trial.goals[rung] for trial in judged])
    fronts = _fast_non_domination_rank(points)
    places = {trial.number: (int(front), 0.0) for trial, front in zip(judged, fronts, strict=True)}
    for front in set(fronts):
        members = np.flatnonzero(fronts == front)
        for member, room in zip(members, spread(points[members]), strict=True):
            places[judged[member].number] = (int(front), -room)
    last = (len(trials), 0.0)
    return sorted(trials, key=lambda trial: (*places.get(trial.number, last), -trial.best_until(rung), trial.number))


def spread(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far each point of a front, [N, objectives], is from its neighbours: the crowding distance, [N].

    The ends are infinitely far. Of equal points one stands for all; the others have the distance 0.
    """
    unique, first = np.unique(points, axis=0, return_index=True)
    room = np.zeros(len(unique))
    for values in unique.T:
        order = np.argsort(values, kind="stable")
        extent = values[order[-1]] - values[order[0]]
        room[order[[0, -1]]] = inf
        if extent > 0:
            room[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / extent
    found = np.zeros(len(points))
    found[first] = room
    return found


def standings(trials: Iterable[FrozenTrial], *, maximize: bool) -> list[Standing]:
    """Return how the trials of a study stand; those that its search space no longer holds are not among them."""
    sign = 1 if maximize else -1
    return [
        Standing(
            number=trial.number,
            values={epoch: sign * value for epoch, value in trial.intermediate_values.items()},
            paused=paused_after(trial),
            ended=trial.state in FINISHED,
            complete=trial.state == OptunaState.COMPLETE,
            goals={int(epoch): tuple(values) for epoch, values in trial.user_attrs.get(GOALS, {}).items()},
        )
        for trial in trials
        if OUTSIDE not in trial.user_attrs
    ]

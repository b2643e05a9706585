"""Whether a leader leads: means over fresh seeds, their uncertainty, and what that says of the gaps.

The value that made a trial a leader is the best of many noisy ones and partly luck, so it does not count
here: only trainings with seeds that no trial has had do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal

from sweeper.config.frozen import Frozen
from sweeper.config.sweep import ObjectiveConfig
from sweeper.results import TrialOutcome, TrialRow, TrialState

CONFIDENCE = 0.95
FEWEST = 2  # values that have a deviation
CHOOSE = "Choose by cost, or ask for more --seeds"


class Leader(Frozen):
    """What the repetitions of one trial have reached."""

    trial: int
    searched: float
    """Its value in the search, the one it was chosen by."""
    values: tuple[float, ...]
    failed: int = 0
    """Repetitions that ended without a value."""
    seconds: float = 0.0
    """Mean training time."""
    p: float | None = None
    """How likely a gap to the first as large as this one would be, were there none; corrected for their number."""

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds, of the sample (n - 1)."""
        return stdev(self.values) if len(self.values) >= FEWEST else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% confidence interval of the mean, by Student's t with n - 1 degrees of freedom."""
        if self.mean is None or not self.deviation:  # values without any say nothing of how far others may lie
            return None
        from scipy import stats

        n = len(self.values)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * self.deviation / math.sqrt(n)
        return self.mean - half, self.mean + half


class Confirmation(Frozen):
    """The leaders, best mean first; the first is the winner."""

    metric: str
    direction: Literal["maximize", "minimize"]
    seeds: int
    known_trials: int
    """Trials that had ended when it was made."""
    leaders: tuple[Leader, ...]

    @property
    def winner(self) -> Leader:
        return self.leaders[0]

    @property
    def ties(self) -> list[Leader]:
        """The others whose gap to the winner may be noise."""
        return [leader for leader in self.leaders[1:] if leader.p is not None and leader.p >= 1 - CONFIDENCE]

    def verdict(self) -> str:
        """Say in words what the gap between first and second is worth."""
        if len(self.leaders) < 2 or self.leaders[1].mean is None or self.winner.mean is None:
            return f"trial {self.winner.trial} has no other to be compared with"
        second = self.leaders[1]
        gap = f"the gap of {abs(self.winner.mean - self.leaders[1].mean):.4f} between trial {self.winner.trial} and "
        gap += f"trial {second.trial} "
        if second.p is None and min(len(self.winner.values), len(second.values)) >= FEWEST:
            return gap + "cannot be judged: all seeds of each gave the same value; ask for more --seeds"
        if second.p is None:
            return gap + "cannot be judged: too few repetitions ended well"
        if second.p >= 1 - CONFIDENCE:
            noise = (
                f"may be noise at {self.seeds} seeds (p = {second.p:.2g}): it may be no better than {self._ties()}. "
            )
            return gap + noise + CHOOSE
        certain = gap + f"is more than noise (p = {second.p:.2g})"
        return f"{certain}, but it may be no better than {self._ties()}. {CHOOSE}" if self.ties else certain

    def _ties(self) -> str:
        return "trial " + " or ".join(str(leader.trial) for leader in self.ties)


def confirmation(
    leaders: Sequence[TrialRow],
    outcomes: Mapping[int, Sequence[TrialOutcome]],
    objective: ObjectiveConfig,
    seeds: int,
    known_trials: int,
) -> Confirmation:
    """Judge leaders by the outcomes of their repetitions.

    One that did not end well with every seed stands below all that did: what fails on one seed in five is
    no winner. Leaders that are equal keep the order of the search.
    """
    found = [_leader(row, outcomes[row.number]) for row in leaders]
    sign = -1 if objective.direction == "maximize" else 1
    found.sort(key=lambda leader: (leader.failed, leader.mean is None, sign * (leader.mean or 0.0)))
    chances = [welch(found[0].values, other.values) for other in found[1:]]
    compared = [leader.model_copy(update={"p": p}) for leader, p in zip(found[1:], corrected(chances), strict=True)]
    return Confirmation(
        metric=objective.metric,
        direction=objective.direction,
        seeds=seeds,
        known_trials=known_trials,
        leaders=(found[0], *compared),
    )


def _leader(row: TrialRow, outcomes: Sequence[TrialOutcome]) -> Leader:
    done = [one for one in outcomes if one.state is TrialState.COMPLETE and one.best_value is not None]
    return Leader(
        trial=row.number,
        searched=row.value or 0.0,
        values=tuple(one.best_value for one in done if one.best_value is not None),
        failed=len(outcomes) - len(done),
        seconds=fmean(one.seconds for one in done) if done else 0.0,
    )


def welch(first: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the two-sided p of Welch's t-test, which lets the two samples vary differently (Welch 1947).

    Not paired by seed: the leaders differ in batch size, network or rate, so that one seed is another order
    of images and other weights for each of them, and pairing would halve the degrees of freedom for nothing.
    None where a sample has fewer than two values, or neither of two different ones varies: an accuracy has steps, and
    two seeds may be on the same one by chance.
    """
    if min(len(first), len(other)) < FEWEST:
        return None
    if stdev(first) == stdev(other) == 0.0:
        return 1.0 if fmean(first) == fmean(other) else None
    from scipy import stats

    spreads = [stdev(first), stdev(other)]
    unit = max(spreads)  # the squares of very small spreads are 0: both are measured in the larger one
    apart = (fmean(first) - fmean(other)) / unit
    test = stats.ttest_ind_from_stats(
        apart, spreads[0] / unit, len(first), 0.0, spreads[1] / unit, len(other), equal_var=False
    )
    return float(test.pvalue)


def corrected(chances: Sequence[float | None]) -> list[float | None]:
    """Correct for several comparisons with the first, which was chosen after the fact (Holm 1979)."""
    order = sorted((p, index) for index, p in enumerate(chances) if p is not None)
    answer: list[float | None] = [None] * len(chances)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        answer[index] = largest
    return answer

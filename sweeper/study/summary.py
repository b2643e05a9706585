"""What the parent run of a study holds: how the best value rose, and the table of trials.

All of it follows from the study's storage, so that it may be written late, and after a crash again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from sweeper.config.sweep import SweepConfig
from sweeper.errors import DamagedFile
from sweeper.files import write_whole
from sweeper.paths import StudyFolder
from sweeper.results import EpochMetrics, TrialRow, TrialState, read_history, write_history
from sweeper.safeguards.spreadsheet import Cell, table
from sweeper.standings.pareto import choose, in_order

COLUMNS = ["rank", "trial", "state", "value", "best_epoch", "epochs", "seconds", "reason"]
NUMBER = "trial/number"
"""The metric that says which trial a point of the history is of."""

SHARE = 0.02  # of the sweep's time that writing the summary may take


class SummaryClock:
    """Says when the summary is to be written: after a trial, but more seldom as writing it takes longer.

    It holds all trials, so that after each of n it would cost n times n in all.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._stale = False
        self._next = 0.0

    def trial_ended(self) -> None:
        self._stale = True

    def due(self) -> bool:
        return self._stale and self._clock() >= self._next

    def write(self, write: Callable[[], None]) -> None:
        started = self._clock()
        write()
        self._stale = False
        self._next = self._clock() + (self._clock() - started) / SHARE


def write_summary(folder: StudyFolder, sweep: SweepConfig, rows: Sequence[TrialRow]) -> None:
    """Write the optimisation history and the artifacts of the parent run."""
    write_history(folder.history, optimization_history(sweep, rows, known_order(folder, NUMBER)))
    write_whole(folder.trials_table, trials_csv(rows, sweep))
    best = choose(rows, sweep)
    if best is not None:
        content = best.model_dump_json(indent=2)
        write_whole(folder.best_trial, content)


def known_order(folder: StudyFolder, metric: str) -> list[int]:
    """Return the numbers that have a point in the history already, in that order; `metric` holds them."""
    try:
        return [int(point.values[metric]) for point in read_history(folder.history)]
    except (DamagedFile, KeyError):  # an earlier version did not note them
        return []


def optimization_history(sweep: SweepConfig, rows: Sequence[TrialRow], known: Sequence[int] = ()) -> list[EpochMetrics]:
    """Return one point for each ended trial, in the order in which they ended: its value and the best so far.

    Those `known` come first and in that order, whatever a clock says that was set meanwhile: their points may have
    been recorded.
    """
    places = {number: place for place, number in enumerate(known)}
    ended = [
        (places.get(row.number, len(places)), row.ended_ms, row.number, row) for row in rows if row.ended_ms is not None
    ]
    counts: Counter[TrialState] = Counter()
    points: list[EpochMetrics] = []
    best: float | None = None
    for step, (_, ended_ms, _, row) in enumerate(sorted(ended, key=lambda item: item[:3]), 1):
        counts[row.state] += 1
        values = {NUMBER: float(row.number)} | {
            f"trials/{state.value}": float(counts[state]) for state in TrialState if state.ended
        }
        if row.value is not None:
            values["trial/value"] = row.value
            counts_now = row.state is TrialState.COMPLETE and row.outside is None
            if counts_now and sweep.objective.better(row.value, best):
                best = row.value
        if best is not None:
            values["best/value"] = best
        points.append(EpochMetrics(epoch=step, values=values, timestamp_ms=after(points, ended_ms)))
    return points


def after(points: Sequence[EpochMetrics], ended_ms: int) -> int:
    """Return the time of the next point: MLflow puts points in the order of their times, and clocks are set back."""
    return max(ended_ms, points[-1].timestamp_ms + 1) if points else ended_ms


def trials_csv(rows: Sequence[TrialRow], sweep: SweepConfig) -> str:
    """Return the table of all trials, ranked ones first, with every parameter that was searched."""
    order = in_order(rows, sweep)
    ranks = {row.number for row in order}
    rest = [row for row in rows if row.number not in ranks]
    params = sorted({name for row in rows for name in row.params})
    folds = max((len(row.outcome.folds) for row in rows if row.outcome), default=0)
    of_folds = [f"fold_{number}" for number in range(1, folds + 1)]
    costs = sorted({name for row in rows if row.outcome for name in row.outcome.costs})
    lines: list[list[Cell]] = [[*COLUMNS, *of_folds, *costs, *params]]
    for rank, row in enumerate([*order, *rest], 1):
        cells: list[Cell] = [rank if rank <= len(order) else "", row.number, row.state.value, row.value, row.best_epoch]
        cells += [row.epochs, row.seconds, row.reason]
        values: list[Cell] = [fold.value for fold in row.outcome.folds] if row.outcome else []
        cells += [*values, *[None] * (folds - len(values))]
        cells += [row.outcome.costs.get(name) if row.outcome else None for name in costs]
        lines.append([*cells, *(row.params.get(name, "") for name in params)])
    return table(lines)

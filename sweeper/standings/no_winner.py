"""What to say of a study without a finished trial: why, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeper.errors import NoWinner
from sweeper.results import TrialRow, TrialState
from sweeper.safeguards.printable import one_line
from sweeper.standings.failure_streak import kind_of_failure

SHOWN_REASONS = 3


def require_finished(study: str, rows: Sequence[TrialRow]) -> None:
    """Raise NoWinner, with the reasons, unless a trial has finished."""
    if not has_finished(rows):
        raise NoWinner(without_winner(study, rows))


def has_finished(rows: Sequence[TrialRow]) -> bool:
    """Return whether there is a trial to take: one that has finished, and that the search space still holds."""
    return any(row.state is TrialState.COMPLETE and row.outside is None for row in rows)


def only_waits(rows: Sequence[TrialRow]) -> bool:
    """Return whether no trial has finished and none has failed: those that are paused or wait may finish yet."""
    return not has_finished(rows) and not any(row.state is TrialState.FAILED for row in rows)


def without_winner(study: str, rows: Sequence[TrialRow], *, listed: bool = False) -> str:
    """Say why no trial has finished, the reasons first, and what comes next; `listed`: the trials are shown already."""
    ended = [row for row in rows if row.state.ended]
    missing = f"no trial of {study} has finished{'' if listed else f'; see sweeper status {study}'}"
    if not ended:
        return missing
    counts = Counter(row.state.value for row in ended)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    reasons = [f"  {line}" for line in reasons_of(ended)]
    return "\n".join([f"{missing} ({told})", *reasons, f"next: {_next(ended)}"])


def reasons_of(ended: Sequence[TrialRow], what: str = "trial") -> list[str]:
    """Return the reasons, the most frequent first, each with the trials that it ended; figures in one do not count."""
    kinds: dict[str, list[TrialRow]] = {}
    for row in ended:
        if _reason(row):
            kinds.setdefault(kind_of_failure(_reason(row)), []).append(row)
    in_order = sorted(kinds.values(), key=len, reverse=True)
    lines = [f"{_trials(rows, what)}: {one_line(_reason(rows[0]))}" for rows in in_order[:SHOWN_REASONS]]
    return [*lines, f"and {len(in_order) - SHOWN_REASONS} other reasons"] if len(in_order) > SHOWN_REASONS else lines


def _reason(row: TrialRow) -> str:
    return row.reason or (f"outside the search space now: {row.outside}" if row.outside else "")


def _trials(rows: Sequence[TrialRow], what: str) -> str:
    return f"{what} {rows[0].number}" if len(rows) == 1 else f"{len(rows)} {what}s, the first of them {rows[0].number}"


def _next(ended: Sequence[TrialRow]) -> str:
    failed = any(row.state is TrialState.FAILED for row in ended)
    infeasible = any(row.outcome is not None and not row.outcome.feasible for row in ended)
    if failed:
        return "correct the cause and run it with --retry-failed, or change the search space with `sweeper extend`"
    if infeasible:
        return "take a smaller backbone, image_size or batch_size under another `study:` name, and run it"
    return "raise budget.trials and run it again, or change the pruner (`pruner: none`) with `sweeper extend`"

"""What is said of a confirmation holds for the one at hand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sweeper.display.confirmation import confirmation_table, confirmed_lines
from sweeper.standings.confirmation import Confirmation, Leader


def confirmation(winner: float, other: float, trials: int = 9, metric: str = "val/accuracy") -> Confirmation:
    leaders = (
        Leader(trial=2, searched=winner, values=(0.5, 0.9)),
        Leader(trial=1, searched=other, values=(0.4, 0.5)),
    )
    return Confirmation(metric=metric, direction="maximize", seeds=2, known_trials=trials, leaders=leaders)


@pytest.mark.parametrize(
    ("found", "best_of_many"),
    [
        (confirmation(0.9, 0.8), True),
        (confirmation(0.8, 0.9), False),
        (confirmation(0.9, 0.8, trials=1), False),
    ],
)
def test_only_the_best_of_several_trials_is_called_the_best_of_many(found: Confirmation, best_of_many: bool) -> None:
    assert ("the best of many" in next(confirmed_lines(found, found.known_trials))) is best_of_many


@pytest.mark.parametrize(("metric", "shown"), [("val/f1", "0.0000 to 1.0000"), ("val/psnr", "-1.8412 to 3.2412")])
def test_the_interval_of_a_share_ends_at_0_and_1(metric: str, shown: str) -> None:
    written = io.StringIO()
    Console(file=written, width=140).print(confirmation_table(confirmation(0.9, 0.8, metric=metric)))
    assert shown in written.getvalue()


def test_a_narrow_terminal_shows_every_number_whole() -> None:
    leaders = (
        Leader(trial=112, searched=0.9123, values=(0.91, 0.92, 0.93), seconds=5400.0),
        Leader(trial=9, searched=0.9, values=(0.9, 0.91, 0.92), p=0.00012, seconds=5000.0),
    )
    found = Confirmation(metric="val/accuracy", direction="maximize", seeds=3, known_trials=200, leaders=leaders)
    written = io.StringIO()
    Console(file=written, width=80).print(confirmation_table(found))
    assert "…" not in written.getvalue()
    for number in ("112", "0.9200", "0.0100", "0.8952 to 0.9448", "0.9123", "0.00012"):
        assert number in written.getvalue()

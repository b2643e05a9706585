"""Numbers in sentences."""

from __future__ import annotations

from sweeper.safeguards.quantity import quantity


def test_one_thing_has_no_plural() -> None:
    assert [quantity(number, "trial") for number in (0, 1, 2000)] == ["0 trials", "1 trial", "2,000 trials"]
    assert quantity(1, "run is", "runs are") == "1 run is"
    assert quantity(2, "branch", "branches") == "2 branches"

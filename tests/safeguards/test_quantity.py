"""Numbers in sentences."""

from __future__ import annotations

from sweeper.safeguards.quantity import amount, portion, quantity


def test_one_thing_has_no_plural() -> None:
    assert [quantity(number, "trial") for number in (0, 1, 2000)] == ["0 trials", "1 trial", "2,000 trials"]
    assert quantity(1, "run is", "runs are") == "1 run is"
    assert quantity(2, "branch", "branches") == "2 branches"


def test_what_comes_in_parts_is_not_rounded() -> None:
    assert [amount(number, "CPU") for number in (0.5, 1.0, 4)] == ["0.5 CPUs", "1 CPU", "4 CPUs"]


def test_a_portion_names_the_whole_only_where_it_is_one() -> None:
    assert [portion(done, 2, "trial") for done in (0, 2, 4)] == ["0 of 2 trials", "2 of 2 trials", "4 trials"]
    assert [portion(done, 1, "trial") for done in (0, 1)] == ["0 of 1 trial", "1 of 1 trial"]
    assert [portion(done, None, "fold") for done in (1, 2)] == ["1 fold", "2 folds"]

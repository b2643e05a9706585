"""Means over fresh seeds, and what they say of the gaps between leaders."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from sweeper.config.sweep import ObjectiveConfig
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.standings.confirmation import Confirmation, confirmation, corrected, welch
from tests.standings.test_ranking import row


def outcome(value: float | None) -> TrialOutcome:
    state = TrialState.FAILED if value is None else TrialState.COMPLETE
    return TrialOutcome(state=state, best_value=value, seconds=2.0)


def judged(values: dict[int, Sequence[float | None]], metric: str = "val/accuracy") -> Confirmation:
    leaders: list[TrialRow] = [row(number, 0.9) for number in values]
    outcomes = {number: [outcome(value) for value in of_one] for number, of_one in values.items()}
    return confirmation(leaders, outcomes, ObjectiveConfig.model_validate({"metric": metric}), 3, 7)


samples = st.lists(st.floats(0, 1), min_size=2, max_size=6)


@given(samples, samples)
@example([0.0, 0.0], [1.0, 1.0])
@example([0.0, 2.4e-196], [0.0, 2.4e-196])
@example([0.0, 2.4e-196], [1.0, 1.0])
@example([0.0, 5e-324], [0.0, 1.0])
def test_welch_agrees_with_scipy_on_the_samples_themselves(first: list[float], other: list[float]) -> None:
    found = welch(first, other)
    if len(set(first)) == len(set(other)) == 1 and first[0] != other[0]:
        assert found is None, "neither varies, so that nothing says how far apart they may be by chance"
        return
    assert found is not None
    assert 0 <= found <= 1
    assert welch(other, first) == pytest.approx(found)
    if max(first) - min(first) > 1e-3 and max(other) - min(other) > 1e-3:
        assert found == pytest.approx(stats.ttest_ind(first, other, equal_var=False).pvalue, abs=1e-9)


def test_nothing_is_said_of_different_samples_without_any_spread() -> None:
    assert welch([0.5, 0.5], [0.5, 0.5]) == 1.0
    assert welch([0.5, 0.5], [0.4, 0.4]) is None
    found = judged({0: [358 / 359] * 2, 1: [357 / 359] * 2})
    assert "cannot be judged: all seeds of each gave the same value; ask for more --seeds" in found.verdict()
    assert found.winner.interval is None
    assert welch([0.5], [0.4, 0.4]) is None


def test_chances_are_corrected_for_their_number_and_keep_their_order() -> None:
    assert corrected([0.04, 0.01, None, 0.03]) == [pytest.approx(0.06), pytest.approx(0.03), None, pytest.approx(0.06)]


def test_the_mean_over_fresh_seeds_decides_and_not_the_value_in_the_search() -> None:
    found = judged({0: [0.50, 0.52, 0.51], 1: [0.60, 0.61, 0.62], 2: [0.3, 0.3, 0.31]})
    assert [leader.trial for leader in found.leaders] == [1, 0, 2]
    assert found.winner.mean == pytest.approx(0.61)
    low, high = found.winner.interval or (0, 0)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, 0.61, 0.01 / 3**0.5))
    assert "more than noise" in found.verdict()
    assert found.ties == []


def test_a_gap_smaller_than_the_spread_is_called_noise_with_those_it_cannot_be_distinguished_from() -> None:
    found = judged({4: [0.50, 0.60, 0.55], 7: [0.51, 0.58, 0.54], 9: [0.1, 0.1, 0.12]})
    assert [leader.trial for leader in found.ties] == [7]
    assert "trial 4 and trial 7 may be noise" in found.verdict()
    assert Confirmation.model_validate_json(found.model_dump_json()) == found


def test_a_third_that_may_be_as_good_is_named_where_the_second_is_not() -> None:
    found = judged({4: [0.60, 0.61, 0.62], 7: [0.57, 0.57, 0.571], 9: [0.3, 0.7, 0.6]})
    assert [leader.trial for leader in found.ties] == [9]
    assert "trial 4 and trial 7 is more than noise" in found.verdict()
    assert "may be no better than trial 9. Choose by cost" in found.verdict()


def test_a_loss_is_better_the_smaller() -> None:
    assert judged({0: [0.5, 0.5, 0.4], 1: [0.2, 0.3, 0.2]}, "val/loss").winner.trial == 1


def test_a_leader_that_fails_with_one_seed_stands_below_all_that_never_do() -> None:
    found = judged({0: [0.9, None, 0.9], 1: [0.5, 0.51, 0.5]})
    assert found.winner.trial == 1
    assert found.leaders[1].failed == 1


def test_equal_leaders_keep_the_order_of_the_search() -> None:
    assert [leader.trial for leader in judged({7: [0.5, 0.6], 2: [0.6, 0.5]}).leaders] == [7, 2]

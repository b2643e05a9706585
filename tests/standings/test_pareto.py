"""The Pareto front, the order of its trials and which one to take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.standings.pareto import choose, in_order, pareto_front
from sweeper.study.summary import trials_csv
from tests.standings.test_ranking import ROWS as RANKED
from tests.standings.test_ranking import row


def sweep_of(**changes: object) -> SweepConfig:
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}, **changes}
    return SweepConfig.model_validate(content)


SEVERAL = sweep_of(objectives=["val/accuracy", "parameters"])


def trial(number: int, accuracy: float, parameters: float, state: TrialState = TrialState.COMPLETE) -> TrialRow:
    costs, metrics = {"parameters": parameters}, {"val/accuracy": accuracy}
    outcome = TrialOutcome(state=state, best_value=accuracy, best_metrics=metrics, costs=costs)
    return row(number, accuracy, state).model_copy(update={"outcome": outcome})


points = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8)


@given(points)
def test_every_trial_off_the_front_is_beaten_by_one_on_it_and_none_on_it_is(values: list[tuple[int, int]]) -> None:
    rows = [trial(number, *value) for number, value in enumerate(values)]
    front = pareto_front(rows, SEVERAL.goals)
    for number, (accuracy, size) in enumerate(values):
        beaten = {
            other for other, (a, s) in enumerate(values) if a >= accuracy and s <= size and (a, s) != (accuracy, size)
        }
        assert (number in front) is not bool(beaten)
        assert not beaten or beaten & front
    order = [one.number for one in in_order(rows, SEVERAL)]
    assert set(order[: len(front)]) == front


ROWS = [
    trial(0, 0.9, 100),
    trial(1, 0.9, 50),
    trial(2, 0.89, 10),
    trial(3, 0.5, 1),
    trial(4, 0.99, 1, TrialState.PRUNED),
    trial(5, 0.4, 20),
]


def test_the_best_objective_on_the_front_is_taken_unless_another_metric_is_preferred() -> None:
    assert [one.number for one in in_order(ROWS, SEVERAL)] == [1, 2, 3, 0, 5, 4]
    assert [line.split(",")[1] for line in trials_csv(ROWS, SEVERAL).splitlines()[1:]] == ["1", "2", "3", "0", "5", "4"]

    def taken(sweep: SweepConfig = SEVERAL, prefer: str | None = None, within: float | None = None) -> int:
        found = choose(ROWS, sweep, prefer, within)
        assert found is not None
        return found.number

    assert taken() == 1
    assert taken(prefer="parameters") == 3
    assert taken(prefer="parameters", within=0.02) == 2
    assert taken(prefer="parameters", within=0.01) == 2, "0.90 - 0.89 is a little more than 0.01"
    assert taken(prefer="parameters", within=0.009) == 1
    assert taken(sweep_of(), "parameters", 0.02) == 2
    assert choose([ROWS[4]], SEVERAL) is None
    with pytest.raises(ConfigError, match=r"known are .*latency_ms"):
        taken(prefer="speed")
    with pytest.raises(ConfigError, match="no trial of s has a latency_ms"):
        taken(prefer="latency_ms")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objectives": ["val/accuracy"]}, "two or more"),
        ({"objectives": ["latency_ms", "parameters"]}, "must judge the model"),
        ({"objectives": ["val/accuracy", "parameters"], "pruner": "median"}, "compares trials by one number"),
        ({"objectives": ["val/accuracy", "parameters"], "sampler": "cmaes"}, "one objective only"),
        ({"objectives": ["val/accuracy", "parameters"], "objective": {"metric": "val/f1"}}, "replaces"),
        ({"enqueue": {"a": {}}, "sampler": "grid"}, "every combination"),
    ],
)
def test_objectives_that_cannot_be_are_refused_with_the_reason(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sweep_of(**changes)


def test_the_first_objective_that_is_not_a_cost_picks_the_best_epoch() -> None:
    sweep = sweep_of(objectives=["latency_ms", "val/loss", "val/accuracy"])
    assert (sweep.objective.metric, sweep.objective.direction) == ("val/loss", "minimize")
    assert [goal.direction for goal in sweep.goals] == ["minimize", "minimize", "maximize"]
    assert SweepConfig.model_validate(sweep.model_dump(mode="json", by_alias=True)) == sweep


def test_a_pruned_or_failed_trial_never_wins() -> None:
    alone = sweep_of()
    assert choose(RANKED, alone) == RANKED[2]
    assert choose([RANKED[1], RANKED[3]], alone) is None

"""No configuration is trained twice in a finite search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from sweeper.search.replay import FIXED_PARAMS
from sweeper.search.study_store import StudyStore
from sweeper.search.untried import count_up_to, trials_of
from tests.search.asking import next_trial

FINITE = {
    "backbone": {"choice": ["a", "b"]},
    "batch_size": {"choice": [16, 32, 64]},
    "drop_rate": {"float": [0.0, 0.3], "step": 0.1},
}


def sweep_of(search: dict[str, Any] = FINITE, sampler: Any = "tpe", **budget: Any) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"trials": 40, "epochs": 1, **budget},
        "sampler": sampler,
        "search": {"backbone": "r", **search},
    }
    return SweepConfig.model_validate(content)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'optuna.db'}"


def finish(store: StudyStore, spec: TrialSpec) -> None:
    value = 0.9 - spec.config.drop_rate - (spec.config.backbone == "b") / 10
    store.report(spec.number, 1, value)
    store.finish(
        spec.number, TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=value, seconds=1)
    )


def searched(store: StudyStore, at_most: int = 100) -> list[str]:
    found: list[str] = []
    while len(found) < at_most and (spec := next_trial(store)) is not None:
        found.append(spec.config.model_dump_json())
        finish(store, spec)
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc", "grid", {"name": "tpe", "startup_trials": 3}])
def test_a_finite_space_is_tried_whole_and_nothing_twice(tmp_path: Path, sampler: Any) -> None:
    sweep = sweep_of(sampler=sampler)
    assert trials_of(sweep) == 24
    found = searched(StudyStore.create_or_load(url_of(tmp_path), sweep))
    assert len(found) == len(set(found)) == 24


def test_configurations_come_again_where_that_is_asked_for(tmp_path: Path) -> None:
    sweep = sweep_of(repeats=True)
    found = searched(StudyStore.create_or_load(url_of(tmp_path), sweep))
    assert len(found) == 40
    assert len(set(found)) <= 24


def test_where_nothing_is_searched_the_trials_differ_by_their_seed(tmp_path: Path) -> None:
    sweep = sweep_of({}, trials=3)
    assert trials_of(sweep) == 3
    assert len(searched(StudyStore.create_or_load(url_of(tmp_path), sweep))) == 3


def test_what_was_asked_for_by_name_is_tried_though_it_comes_again(tmp_path: Path) -> None:
    store = StudyStore.create_or_load(url_of(tmp_path), sweep_of())
    same = {"backbone": "a", "batch_size": 32, "drop_rate": 0.1}
    store.enqueue({"mine": same, "again": same})
    found = searched(store, at_most=6)
    assert found[0] == found[1]
    assert len(set(found[1:])) == 5


def test_what_a_name_leaves_open_is_something_that_has_not_been_tried(tmp_path: Path) -> None:
    store = StudyStore.create_or_load(url_of(tmp_path), sweep_of())
    store.enqueue({f"n{number}": {"backbone": "b", "drop_rate": 0.2} for number in range(3)})
    found = searched(store)
    assert len(found) == len(set(found)) == 24
    assert {row.params["batch_size"] for row in store.rows()[:3]} == {16, 32, 64}


def test_what_comes_again_by_name_takes_the_place_of_nothing_that_is_untried(tmp_path: Path) -> None:
    sweep, same = sweep_of(), {"backbone": "a", "batch_size": 32, "drop_rate": 0.1}
    store = StudyStore.create_or_load(url_of(tmp_path), sweep)
    store.enqueue({"mine": same, "again": same, "once more": same})
    found = searched(store, at_most=20)
    store.close()
    again = StudyStore.create_or_load(url_of(tmp_path), sweep)
    assert again.budget == 26
    found += searched(again)
    assert (len(found), len(set(found))) == (26, 24)
    assert again.remaining() == 0


def test_a_driver_that_dies_gets_the_same_trials(tmp_path: Path) -> None:
    sweep = sweep_of(sampler={"name": "tpe", "startup_trials": 3})
    whole = searched(StudyStore.create_or_load(url_of(tmp_path), sweep))
    (tmp_path / "again").mkdir()
    found: list[str] = []
    while (spec := begun_after_a_death(tmp_path / "again", sweep)[1]) is not None:
        store, again = begun_after_a_death(tmp_path / "again", sweep)
        assert again == spec
        found.append(spec.config.model_dump_json())
        finish(store, spec)
    assert found == whole


def begun_after_a_death(folder: Path, sweep: SweepConfig) -> tuple[StudyStore, TrialSpec | None]:
    """Begin a trial, after a driver that died while one ran."""
    store = StudyStore.create_or_load(url_of(folder), sweep)
    store.requeue_interrupted()
    return store, next_trial(store)


def test_the_other_configuration_has_most_in_common_with_the_one_that_was_drawn(tmp_path: Path) -> None:
    space = {"backbone": {"choice": ["a", "b"]}, "batch_size": {"choice": [16, 32, 64]}}
    replaced = 0
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        sweep = sweep_of(space, sampler="random").model_copy(update={"seed": seed})
        store = StudyStore.create_or_load(url_of(tmp_path / str(seed)), sweep)
        searched(store, at_most=2)
        first, second = store._study.trials
        if FIXED_PARAMS in second.system_attrs:  # the second had drawn the first once more
            replaced += 1
            assert len(first.params.items() & second.params.items()) == 1
    assert replaced


def test_spaces_are_counted_as_far_as_the_budget_goes() -> None:
    assert count_up_to(sweep_of().search, 100) == 24
    assert count_up_to(sweep_of().search, 10) == 10
    assert count_up_to(sweep_of({"weight_decay": {"float": [0, 1]}}).search, 10) == 10
    assert trials_of(sweep_of({"weight_decay": {"float": [0, 1]}})) == 40


def test_a_grid_is_tried_whole_though_one_of_its_trials_was_retried_meanwhile(tmp_path: Path) -> None:
    store = StudyStore.create_or_load(url_of(tmp_path), sweep_of(sampler="grid"))
    first = next_trial(store)
    assert first is not None
    store.finish(first.number, TrialOutcome(state=TrialState.FAILED, reason="nan"))
    assert store.retry_failed() == [0]
    assert store.retry_failed() == []
    assert store.budget == 25
    found = searched(store)
    assert found[0] == first.config.model_dump_json()
    assert len(found) == len(set(found)) == 24

"""A study on real SQLite: numbers, budgets, requeueing and pruning survive a dead driver."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyChanged, StudyError, StudyNotFound
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial


def sweep_of(**changes: Any) -> SweepConfig:
    content: dict[str, Any] = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"trials": 6, "epochs": 4},
        "search": {
            "backbone": "r",
            "weight_decay": {"float": [1e-5, 1e-2], "log": True},
            "drop_rate": {"float": [0, 0.5]},
        },
    }
    return SweepConfig.model_validate({**content, **changes})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


SEVERAL = ["val/accuracy", "parameters"]
QUEUE = {"first": {"weight_decay": 0.2}, "second": {"drop_rate": 0.1, "weight_decay": 0.0}}


def complete(value: float) -> TrialOutcome:
    return TrialOutcome(
        state=TrialState.COMPLETE,
        epochs=4,
        best_epoch=2,
        best_value=value,
        seconds=1.0,
        best_metrics={"val/accuracy": value},
        costs={"parameters": round(100 * value) % 7},
    )


def run_to_end(store: StudyStore) -> None:
    while (spec := next_trial(store)) is not None:
        store.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))


def test_a_budget_is_kept_and_numbers_are_consecutive(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    run_to_end(store)
    assert [row.number for row in store.rows()] == list(range(6))
    assert store.remaining() == 0


def test_an_interrupted_trial_comes_back_first_with_its_number_and_parameters(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    first = next_trial(store)
    assert first is not None
    store.report(first.number, 1, 0.5)
    again = StudyStore.create_or_load(url, sweep_of())
    assert again.requeue_interrupted() == [0]
    assert again.rows()[0].seconds is None  # not the time since it began
    assert next_trial(again) == first
    assert again.rows()[0].epochs == 1


@profile(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=5),
    st.sampled_from(
        [
            {"sampler": "tpe"},
            {"sampler": "random"},
            {"sampler": "cmaes"},
            {"sampler": "grid"},
            {"sampler": {"name": "tpe", "startup_trials": 2}, "objectives": SEVERAL},
            {"sampler": {"name": "nsga2", "population": 2}, "objectives": SEVERAL},
            {"sampler": {"name": "tpe", "startup_trials": 2}, "enqueue": QUEUE},
        ]
    ),
)
def test_a_study_interrupted_anywhere_equals_an_uninterrupted_one(
    tmp_path_factory: pytest.TempPathFactory, interruptions: list[int], settings: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("studies")
    search = {
        "backbone": "r",
        "weight_decay": {"float": [0, 0.4], "step": 0.1},
        "drop_rate": {"float": [0, 0.5], "step": 0.1},
    }
    sweep = sweep_of(search=search, **settings)
    whole = StudyStore.create_or_load(f"sqlite:///{folder / 'whole.db'}", sweep)
    whole.enqueue(sweep.enqueue)
    run_to_end(whole)
    url = f"sqlite:///{folder / 'broken.db'}"
    for finished_before_the_kill in interruptions:
        store = StudyStore.create_or_load(url, sweep)
        store.requeue_interrupted()
        store.enqueue(sweep.enqueue)
        for _ in range(finished_before_the_kill):
            if (spec := next_trial(store)) is not None:
                store.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))
        next_trial(store)  # and the driver dies
    store = StudyStore.create_or_load(url, sweep)
    store.requeue_interrupted()
    run_to_end(store)
    assert [(row.number, row.params, row.value) for row in store.rows()] == [
        (row.number, row.params, row.value) for row in whole.rows()
    ]


@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_a_trial_is_not_pruned_after_the_last_epoch_of_the_budget(url: str, pruner: str) -> None:
    options = {"startup_trials": 1, "warmup_epochs": 4} if pruner == "median" else {"min_epochs": 4}
    store = StudyStore.create_or_load(url, sweep_of(pruner={"name": pruner, **options}))
    for value in (0.9, 0.1):
        spec = next_trial(store)
        assert spec is not None
        assert not any(store.report(spec.number, epoch, value) for epoch in range(1, 5))
        store.finish(spec.number, complete(value))


def test_a_changed_search_space_is_refused_and_a_larger_budget_is_not(url: str) -> None:
    run_to_end(StudyStore.create_or_load(url, sweep_of()))
    with pytest.raises(StudyChanged, match="search"):
        StudyStore.create_or_load(url, sweep_of(search={"backbone": "other"}))
    larger = StudyStore.create_or_load(url, sweep_of(budget={"trials": 8, "epochs": 4}))
    assert larger.remaining() == 2


def test_a_failed_trial_has_no_value(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    spec = next_trial(store)
    assert spec is not None
    store.finish(spec.number, TrialOutcome(state=TrialState.FAILED, reason="it broke"))
    (row,) = store.rows()
    assert (row.state, row.value, row.reason) == (TrialState.FAILED, None, "it broke")
    [trial] = optuna.load_study(study_name="s", storage=url).trials
    assert trial.user_attrs["ended because"] == "it broke"  # in optuna-dashboard too


def test_a_grid_smaller_than_the_budget_ends_the_study(url: str) -> None:
    search = {"backbone": {"choice": ["a", "b"]}, "batch_size": {"choice": [8, 16]}}
    store = StudyStore.create_or_load(url, sweep_of(sampler="grid", search=search))
    run_to_end(store)
    assert store.budget == 4
    assert len({str(row.params) for row in store.rows()}) == 4


def test_an_unknown_study_is_reported_with_those_there_are(url: str) -> None:
    StudyStore.create_or_load(url, sweep_of())
    with pytest.raises(StudyNotFound, match="the studies are: s"):
        StudyStore.load(url, "t")


def test_a_study_whose_driver_died_as_it_was_created_is_begun_again(url: str) -> None:
    sweep = sweep_of()
    optuna.create_study(storage=url, study_name=sweep.study, direction=sweep.objective.direction)
    with pytest.raises(StudyNotFound):
        StudyStore.load(url, sweep.study)
    StudyStore.create_or_load(url, sweep)
    assert StudyStore.load(url, sweep.study).rows() == []


def test_a_storage_that_cannot_be_opened_is_reported_without_its_password() -> None:
    with pytest.raises(StudyError) as caught:
        StudyStore.create_or_load("postgresql://user:secret@127.0.0.1:1/none", sweep_of())
    assert "secret" not in str(caught.value)


def infeasible() -> TrialOutcome:
    return TrialOutcome(state=TrialState.PRUNED, feasible=False, reason="does not fit in memory: too large")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_what_does_not_fit_in_memory_is_pruned_without_a_value_by_every_sampler(url: str, sampler: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of(sampler={"name": sampler}))
    spec = next_trial(store)
    assert spec is not None
    store.report(spec.number, 1, 0.9)
    store.finish(spec.number, infeasible())
    (row,) = store.rows()
    assert (row.state, row.value, row.reason) == (TrialState.PRUNED, None, "does not fit in memory: too large")


def test_tpe_avoids_what_does_not_fit_and_takes_trials_without_a_constraint_for_feasible(url: str) -> None:
    search = {"backbone": {"choice": ["small", "large"]}, "weight_decay": {"float": [0, 0.1]}}
    sweep = sweep_of(search=search, budget={"trials": 30, "epochs": 1}, pruner={"name": "none"})
    store = StudyStore.create_or_load(url, sweep)
    backbones = []
    while (spec := next_trial(store)) is not None:
        backbones.append(spec.config.backbone)
        store.finish(spec.number, infeasible() if backbones[-1] == "large" else complete(spec.config.weight_decay))
    assert backbones[10:].count("large") <= 8  # as FAIL it would be all but a few
    feasible = optuna.load_study(study_name="s", storage=url).get_trials()
    assert {bool(trial.constraints) for trial in feasible if trial.state.name == "COMPLETE"} == {False}
    assert {tuple(trial.constraints.values()) for trial in feasible if trial.state.name == "PRUNED"} == {(1.0,)}


def test_a_kill_for_memory_is_counted_across_restarts_and_passed_to_the_next_worker(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    first = next_trial(store)
    assert first is not None
    store.count_attempt(0, for_memory=True)
    again = StudyStore.create_or_load(url, sweep_of())
    again.requeue_interrupted()
    assert next_trial(again) == first.model_copy(update={"memory_kills": 1})
    assert again.count_attempt(0, for_memory=True) == 2
    assert again.count_attempt(0) == 1


def test_a_configuration_that_was_killed_while_it_was_drawn_is_completed_as_without_the_kill(tmp_path: Path) -> None:
    sweep = sweep_of(sampler="random", enqueue={"first": {"drop_rate": 0.1}})
    whole, broken = (
        StudyStore.create_or_load(f"sqlite:///{tmp_path / name}.db", sweep) for name in ("whole", "broken")
    )
    for store in (whole, broken):
        assert store.enqueue(sweep.enqueue) == ["first"]
    expected = next_trial(whole)
    trial = broken._study.ask()
    trial.suggest_float("drop_rate", 0, 0.5)  # and the driver dies
    broken.requeue_interrupted()
    assert next_trial(broken) == expected
    assert expected is not None
    assert expected.config.drop_rate == 0.1


def test_several_objectives_reach_optuna_and_their_epochs_are_known_and_prune_nothing(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of(objectives=SEVERAL))
    for value in (0.9, 0.1):
        spec = next_trial(store)
        assert spec is not None
        assert not any(store.report(spec.number, epoch, value) for epoch in (1, 2, 2))
        assert store.rows()[-1].epochs == 2
        store.finish(spec.number, complete(value))
    next_trial(store)
    store.finish(2, infeasible())
    study = optuna.load_study(study_name="s", storage=url)
    assert [trial.values for trial in study.trials] == [[0.9, 6.0], [0.1, 3.0], None]
    run_to_end(store)


def run_groups(store: StudyStore, size: int) -> None:
    while group := store.next_group(size):
        for spec in group:
            store.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))


class Dead(Exception):
    """Stands for a driver that is killed at this point."""


@pytest.mark.parametrize("ended", [0, 1, 2])
@pytest.mark.parametrize("asked", [1, 2, 3])
def test_an_interrupted_group_comes_back_by_itself_and_the_study_equals_an_uninterrupted_one(
    tmp_path: Path, asked: int, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(budget={"trials": 8, "epochs": 4}, sampler={"name": "tpe", "startup_trials": 2})
    whole, broken = (f"sqlite:///{tmp_path / name}.db" for name in ("whole", "broken"))
    run_groups(StudyStore.create_or_load(whole, sweep), 3)
    store = StudyStore.create_or_load(broken, sweep)
    for spec in store.next_group(3):
        store.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))
    ask, calls = StudyStore._ask, iter(range(9))

    def die_on_the_way(store: StudyStore, number: int) -> Any:
        if next(calls) == asked:
            raise Dead
        return ask(store, number)

    with monkeypatch.context() as patch:
        patch.setattr(StudyStore, "_ask", die_on_the_way)
        with suppress(Dead):
            group = store.next_group(3)
            assert [spec.number for spec in group] == [3, 4, 5]
            for spec in group[:ended]:
                store.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))
    again = StudyStore.create_or_load(broken, sweep)
    again.requeue_interrupted()
    group = again.next_group(3)
    assert [spec.number for spec in group] == ([3, 4, 5] if asked < 3 else [3, 4, 5][ended:])
    for spec in group:
        again.finish(spec.number, complete(spec.config.weight_decay + spec.config.drop_rate))
    run_groups(again, 3)
    expected = StudyStore.create_or_load(whole, sweep)
    assert [row.params for row in again.rows()] == [row.params for row in expected.rows()]
    assert len(again.rows()) == 8


def test_trials_of_one_group_are_suggested_before_any_of_them_has_run(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    assert [spec.number for spec in store.next_group(4)] == [0, 1, 2, 3]
    assert [spec.number for spec in store.next_group(4)] == [4, 5]  # the budget's last
    assert store.next_group(4) == []


@pytest.mark.parametrize("enqueued", [True, False])
def test_where_trials_pause_the_first_that_was_queued_is_trained_whole(url: str, enqueued: bool) -> None:
    budget = {"trials": 4, "epochs": 20}
    store = StudyStore.create_or_load(url, sweep_of(sampler="random", pruner="promote", budget=budget))
    if enqueued:
        store.enqueue({"first": {"drop_rate": 0.1}, "second": {"drop_rate": 0.2}})
    until = [spec.until for _ in range(3) for spec in store.next_group(1)]
    assert until == [20 if enqueued else 2, 2, 2]


@pytest.mark.parametrize("before", [0, 5])
def test_a_trial_that_goes_on_is_told_to_train_until_the_next_rung(url: str, before: int) -> None:
    pruner, budget = {"name": "promote", "rungs": [1, 3]}, {"trials": 2, "epochs": before + 9}
    sweep = sweep_of(sampler="random", pruner=pruner, budget=budget)
    store = StudyStore.create_or_load(url, sweep, before=before)
    spec = next_trial(store)
    for rung, following in ((before + 1, before + 3), (before + 3, before + 9)):
        assert spec is not None
        assert spec.until == rung
        store.report(spec.number, rung, 0.5)
        store.pause(spec.number, TrialOutcome(state=TrialState.PAUSED, epochs=rung, best_epoch=rung, best_value=0.5))
        spec = store.go_on(spec.number)
        assert spec.until == following


@pytest.mark.parametrize("objectives", [["val/accuracy", "parameters"], ["parameters", "val/accuracy"]])
def test_parameters_are_ranked_by_the_objective_that_is_no_cost(url: str, objectives: list[str]) -> None:
    sweep = sweep_of(sampler="random", pruner="none", objectives=objectives, budget={"trials": 30})
    store = StudyStore.create_or_load(url, sweep)
    while (spec := next_trial(store)) is not None:
        value = spec.config.drop_rate
        metrics, costs = {"val/accuracy": value}, {"parameters": 1000 * spec.config.weight_decay}
        done = {"epochs": 1, "best_epoch": 1, "best_value": value, "best_metrics": metrics, "costs": costs}
        store.finish(spec.number, TrialOutcome(state=TrialState.COMPLETE, **done))
    found = store.importances()
    assert next(iter(found)) == "drop_rate"
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("sign", [1, -1])
def test_parameters_are_ranked_by_trials_that_paused_too(url: str, sign: int) -> None:
    metric = "val/accuracy" if sign == 1 else "val/loss"
    few = {"sampler": "random", "budget": {"trials": 24}, "objective": {"metric": metric}}
    store = StudyStore.create_or_load(url, sweep_of(pruner="promote", **few))
    for number in range(24):
        spec = next_trial(store)
        assert spec is not None
        value = sign * spec.config.drop_rate
        store.report(spec.number, 1, value)
        ended = {"epochs": 1, "best_epoch": 1, "best_value": value, "best_metrics": {metric: value}}
        state = TrialState.COMPLETE if number < 5 else TrialState.PRUNED
        store.finish(spec.number, TrialOutcome(state=state, **ended))
    found = store.importances()
    assert next(iter(found)) == "drop_rate"
    assert found["drop_rate"] > 0.8


def test_the_time_of_a_paused_trial_is_that_of_its_training(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of(sampler="random", pruner="promote", budget={"trials": 2}))
    first = next_trial(store)
    assert first is not None
    outcome = TrialOutcome(state=TrialState.PAUSED, epochs=1, best_epoch=1, best_value=0.5, seconds=3600.0)
    store.report(first.number, 1, 0.5)
    store.pause(first.number, outcome)
    assert StudyStore.load(url, "s").rows()[0].seconds == 3600
    store.go_on(first.number)
    assert StudyStore.load(url, "s").rows()[0].seconds == pytest.approx(3600, abs=60)


def test_a_trial_keeps_the_epochs_that_it_began_with_when_others_get_fewer(url: str) -> None:
    first = StudyStore.create_or_load(url, sweep_of())
    assert [first.next_group(1)[0].epochs for _ in range(3)] == [4, 4, 4]
    first.report(0, 1, 0.5)
    first.plan_epochs(2)
    first.requeue(2)
    assert first.next_group(1)[0].epochs == 4, "it has begun, and its run says so"
    first.close()  # and the driver dies
    again = StudyStore.create_or_load(url, sweep_of())
    assert again.requeue_interrupted() == [0, 1, 2]
    again.plan_epochs(1)
    assert [again.next_group(1)[0].epochs for _ in range(4)] == [4, 4, 4, 1]

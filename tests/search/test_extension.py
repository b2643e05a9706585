"""A study with an edited search space: numbers, values and parameters stay, and the sampler goes on from them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyChanged
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.search import extension
from sweeper.search.extension import Extension, extend
from sweeper.search.stored_studies import study_names
from sweeper.search.stored_trial import CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import ranked
from tests.search.asking import next_trial
from tests.search.test_study_store import run_to_end, sweep_of

NARROW = {"backbone": {"choice": ["a", "b"]}, "weight_decay": {"float": [1e-3, 1e-1], "log": True}, "drop_rate": 0.1}
WIDE = {
    "backbone": {"choice": ["a", "b", "c"]},
    "weight_decay": {"float": [1e-5, 1.0], "log": True},
    "drop_rate": {"float": [0, 0.5]},
    "optimizer": {"choice": ["adamw", {"name": "sgd", "lr": {"float": [0.01, 0.1]}}]},
}
ONLY_B = {**NARROW, "backbone": "b"}


def space(search: dict[str, Any], trials: int = 8, **changes: Any) -> SweepConfig:
    budget = {"trials": trials, "epochs": 4}
    return sweep_of(**{"search": search, "budget": budget, "sampler": {"name": "tpe"}, **changes})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A study of eight finished trials in the narrow space: one of them failed, one was pruned."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, space(NARROW))
    for outcome in (
        TrialOutcome(state=TrialState.FAILED, reason="it broke"),
        TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.2),
    ):
        spec = next_trial(store)
        assert spec is not None
        store.report(spec.number, 1, 0.2)
        store.finish(spec.number, outcome)
    run_to_end(store)
    return url


def extended(url: str, sweep: SweepConfig) -> Extension:
    return extend(StudyStore.load(url, "s"), sweep)


def known(url: str) -> list[TrialRow]:
    return [row.model_copy(update={"params": {}}) for row in StudyStore.load(url, "s").rows()]


def test_a_study_begun_when_dictionaries_were_stored_instead_of_their_text_reads_and_extends_the_same(
    url: str,
) -> None:
    before = [(row.number, row.config, row.outcome) for row in known(url)]
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = json_extract(value_json, '$') "
            "WHERE key IN ('config', 'outcome')"
        )
    stored = optuna.load_study(study_name="s", storage=url).trials[2].user_attrs
    assert (stored["config"]["drop_rate"], stored["outcome"]["state"]) == (0.1, "complete")
    assert [(row.number, row.config, row.outcome) for row in known(url)] == before
    assert extended(url, space(WIDE, trials=20)).carried == list(range(8))
    assert [(row.number, row.config, row.outcome) for row in known(url)] == before


def test_a_wider_range_another_backbone_and_an_optimizer_lose_nothing(url: str) -> None:
    before = known(url)
    found = extended(url, space(WIDE, trials=20))
    assert found.carried == list(range(8))
    assert found.outside == {}
    assert known(url) == before
    assert all(row.params["optimizer"] == "adamw" for row in StudyStore.load(url, "s").rows())
    store = StudyStore.create_or_load(url, space(WIDE, trials=20))
    run_to_end(store)
    rows = store.rows()
    assert [row.number for row in rows] == list(range(20))
    drawn = [row.params for row in rows[8:]]
    assert all("drop_rate" in params for params in drawn)
    assert any(params["backbone"] == "c" or params["optimizer"] == "sgd" for params in drawn)
    assert any(not 1e-3 <= params["weight_decay"] <= 1e-1 for params in drawn)
    assert study_names(url) == ["s"]


def test_what_no_longer_fits_is_history_and_comes_back_when_it_fits_again(url: str) -> None:
    before = known(url)
    found = extended(url, space(ONLY_B))
    assert sorted([*found.carried, *found.outside]) == list(range(8))
    assert all("backbone: 'a' is not 'b'" in why for why in found.outside.values())
    rows = StudyStore.load(url, "s").rows()
    assert [row.value for row in rows] == [row.value for row in before]
    assert [row.state for row in rows] == [row.state for row in before]
    assert {row.number for row in ranked(rows, "maximize")} <= set(found.carried)
    assert extended(url, space(NARROW)).carried == list(range(8))
    assert known(url) == before


@pytest.mark.parametrize(("search", "state"), [(WIDE, TrialState.WAITING), (ONLY_B, TrialState.FAILED)])
def test_an_interrupted_trial_goes_on_where_it_fits_and_has_ended_where_not(
    tmp_path: Path, search: dict[str, Any], state: TrialState
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, space({**NARROW, "backbone": {"choice": ["a"]}}))
    first = next_trial(store)
    assert first is not None
    store.report(0, 1, 0.5)
    found = extended(url, space(search))
    again = StudyStore.create_or_load(url, space(search))
    assert again.rows()[0].state is state
    assert list(found.left) == ([] if state is TrialState.WAITING else [0])
    following = next_trial(again)
    assert following is not None
    assert (following.number == 0) is (state is TrialState.WAITING)
    if following.number == 0:
        assert following.config == first.config
        assert again.rows()[0].epochs == 1


def finite(*rates: float) -> dict[str, Any]:
    return {"backbone": "a", "optimizer": {"name": "adamw", "lr": {"choice": list(rates)}}}


@pytest.mark.parametrize(("rates", "further"), [((3e-3, 4e-3), 2), ((1e-3, 3e-3), 1), ((1e-3, 2e-3, 3e-3, 4e-3), 2)])
def test_another_finite_space_is_tried_whole_beside_what_lies_outside_it(
    tmp_path: Path, rates: tuple[float, ...], further: int
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    run_to_end(StudyStore.create_or_load(url, space(finite(1e-3, 2e-3), trials=20)))
    extended(url, space(finite(*rates), trials=20))
    store = StudyStore.create_or_load(url, space(finite(*rates), trials=20))
    assert store.remaining() == further
    run_to_end(store)
    inside = [row.config.optimizer.lr for row in store.rows() if row.config and row.outside is None]
    assert sorted(inside) == sorted(rates)


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(("rungs", "goes_to"), [([1], None), ([2], 2)])
def test_paused_trials_stay_where_those_of_the_new_space_pause_too(
    tmp_path: Path, rungs: list[int], goes_to: int | None, before: int
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    narrow = space(NARROW, pruner={"name": "promote", "rungs": [1], "keep": 0.3})
    store = StudyStore.create_or_load(url, narrow, before=before)
    for value in (0.9, 0.5):
        spec = next_trial(store)
        assert spec is not None
        assert spec.until == before + 1
        store.report(spec.number, before + 1, value)
        outcome = TrialOutcome(state=TrialState.PAUSED, epochs=before + 1, best_epoch=before + 1, best_value=value)
        store.pause(spec.number, outcome)
    sweep = space(WIDE, pruner={"name": "promote", "rungs": rungs, "keep": 0.3})
    assert extended(url, sweep).carried == [0, 1]
    store = StudyStore.create_or_load(url, sweep)  # the extended study knows how many epochs came before
    spec = next_trial(store)
    assert spec is not None
    if goes_to is None:
        assert [row.state for row in store.rows()[:2]] == [TrialState.PAUSED] * 2
        assert (spec.number, spec.until) == (2, before + 1)
    else:
        assert (spec.number, spec.until) == (0, before + goes_to)


def test_a_kill_before_the_names_change_leaves_the_old_study_and_the_next_try_succeeds(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known(url)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extension, "_swap", killed)
        with pytest.raises(KeyboardInterrupt):
            extended(url, space(WIDE))
    assert StudyStore.load(url, "s").sweep == space(NARROW)
    assert known(url) == before
    assert extended(url, space(WIDE)).carried == list(range(8))
    assert extended(url, space(WIDE)).aside is None


def test_other_data_or_another_objective_is_refused_with_the_way_to_do_it(url: str) -> None:
    with pytest.raises(StudyChanged, match=r"objective.*--warm-start-from s"):
        extended(url, space(WIDE, objective={"metric": "val/f1"}))


def test_trials_that_wait_by_name_are_fitted_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, space(NARROW))
    store.enqueue({"mine": {"backbone": "b", "weight_decay": 0.01}})
    edited = space({**NARROW, "backbone": {"choice": ["b", "c"]}, "weight_decay": 0.1})
    extended(url, edited)
    spec = next_trial(StudyStore.create_or_load(url, edited))
    assert spec is not None
    assert (spec.config.backbone, spec.config.weight_decay) == ("b", 0.1)


def test_a_retry_that_the_new_space_no_longer_holds_becomes_no_other_configuration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, space(NARROW))
    store.enqueue({"mine": {"backbone": "a"}})
    assert next_trial(store) is not None
    store.finish(0, TrialOutcome(state=TrialState.FAILED, reason="it broke"))
    assert store.retry_failed() == [0]
    found = extended(url, space(ONLY_B))
    assert sorted(found.outside) == [0, 1]
    again = StudyStore.create_or_load(url, space(ONLY_B))
    assert [row.state for row in again.rows()] == [TrialState.FAILED] * 2
    spec = next_trial(again)
    assert spec is not None
    assert spec.number == 2
    assert sorted(extended(url, space({**ONLY_B, "backbone": "c"})).outside) == [0, 1, 2]
    extended(url, space(NARROW))
    back = next_trial(StudyStore.create_or_load(url, space(NARROW)))
    assert back is not None
    assert (back.number, back.config.backbone) == (1, "a")


def test_a_study_whose_epochs_a_deadline_has_planned_can_be_extended(url: str) -> None:
    store = StudyStore.create_or_load(url, space(NARROW))
    store.plan_epochs(2)
    assert StudyStore.load(url, "s").sweep.budget.epochs == 2
    assert extended(url, space(WIDE, trials=9)).carried == list(range(8))
    assert StudyStore.load(url, "s").sweep.budget.epochs == 2
    with pytest.raises(StudyChanged, match="other settings of epochs"):
        extended(url, space(NARROW, budget={"trials": 9, "epochs": 5}))


def test_trials_paused_at_planned_epochs_stay_paused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    pruner = {"name": "promote"}
    long = {"trials": 20, "epochs": 30}
    store = StudyStore.create_or_load(url, space(NARROW, pruner=pruner, budget=long))
    store.plan_epochs(10)
    spec = next_trial(store)
    assert spec is not None
    assert spec.until == 1
    store.report(spec.number, 1, 0.5)
    store.pause(spec.number, TrialOutcome(state=TrialState.PAUSED, epochs=1, best_epoch=1, best_value=0.5))
    extended(url, space(WIDE, pruner=pruner, budget=long))
    assert StudyStore.load(url, "s").rows()[0].state is TrialState.PAUSED


@pytest.mark.parametrize(("search", "kept"), [(WIDE, True), (ONLY_B, False)])
def test_a_confirmation_stays_where_all_its_trials_do(url: str, search: dict[str, Any], kept: bool) -> None:
    store = StudyStore.load(url, "s")
    a = next(row.number for row in store.rows() if row.value is not None and row.params["backbone"] == "a")
    leaders = [{"trial": number, "searched": 0.5, "values": [0.5, 0.6]} for number in (a, 7)]
    found = {"metric": "val/accuracy", "direction": "maximize", "seeds": 2, "known_trials": 8, "leaders": leaders}
    store.note(CONFIRMATION, found)
    assert extended(url, space(search)).unconfirmed is not kept
    assert StudyStore.load(url, "s").noted(CONFIRMATION) == (found if kept else None)


def test_cmaes_begins_anew_in_a_space_of_other_dimensions(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    line = {"backbone": "a", "weight_decay": {"float": [0, 1]}, "drop_rate": {"float": [0, 0.5]}}
    begun = sweep_of(search=line, budget={"trials": 16, "epochs": 1}, sampler={"name": "cmaes"})
    run_to_end(StudyStore.create_or_load(url, begun))

    def kept() -> int:
        trials = optuna.load_study(study_name="s", storage=url).trials
        return sum(any(key.startswith("cma:") for key in trial.system_attrs) for trial in trials)

    assert kept() > 0
    wider = {**line, "label_smoothing": {"float": [0, 0.3]}}
    edited = sweep_of(search=wider, budget={"trials": 40, "epochs": 1}, sampler={"name": "cmaes"})
    extended(url, edited)
    assert kept() == 0
    run_to_end(StudyStore.create_or_load(url, edited))
    assert kept() > 0


RUNG = "completed_rung_0"


@pytest.mark.parametrize(("pruner", "kept"), [("successive_halving", True), ("hyperband", False)])
def test_history_competes_at_no_rung_and_nobody_at_those_of_another_pruner(
    tmp_path: Path, pruner: str, kept: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, space(NARROW, pruner="successive_halving"))
    while (spec := next_trial(store)) is not None:
        store.report(spec.number, 1, 0.5)
        store.finish(spec.number, TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.5))
    assert all(RUNG in trial.system_attrs for trial in optuna.load_study(study_name="s", storage=url).trials)
    found = extended(url, space(ONLY_B, pruner=pruner))
    trials = optuna.load_study(study_name="s", storage=url).trials
    assert found.carried
    assert found.outside
    assert [trial.number for trial in trials if RUNG in trial.system_attrs] == (found.carried if kept else [])

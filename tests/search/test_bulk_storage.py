"""Many trials read at once are what Optuna itself reads one object at a time, in as many queries as few are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from sweeper.search.bulk_adding import add_trials
from sweeper.search.bulk_storage import BulkStorage

KINDS = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "layers": IntDistribution(1, 9),
    "name": CategoricalDistribution(["a", None, True, 3]),
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of two studies; the second has trials in every state, and values of every kind."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    make_trials(optuna.create_study(storage=url, study_name="other"), 3)
    study = optuna.create_study(storage=url, study_name="s")
    make_trials(study, 3)
    study.enqueue_trial({"rate": 0.1}, user_attrs={"given": {"rate": 0.1}})
    asked = study.ask()
    asked.suggest_int("layers", 1, 9)
    asked.report(float("inf"), 1)
    asked.report(float("nan"), 2)
    asked.report(float("-inf"), 3)
    study.tell(study.ask(), float("inf"))
    study.tell(study.ask(), state=TrialState.FAIL)
    study.tell(study.ask(), state=TrialState.PRUNED)
    study.enqueue_trial({"layers": 2})
    return url


def make_trials(study: optuna.Study, count: int) -> None:
    study.add_trials(
        create_trial(
            value=0.1 * number,
            params={"rate": 0.01 * (number + 1), "layers": 1 + number % 9, "name": [None, "a", 3][number % 3]},
            distributions=KINDS,
            user_attrs={"text": '{"a": "ü"}', "number": number, "nested": {"a": [1, None]}},
            system_attrs={"rung": 0.5},
            intermediate_values={1: 0.1, 2: 0.2},
        )
        for number in range(count)
    )


@pytest.fixture
def ours(url: str) -> BulkStorage:
    return BulkStorage(url)


@pytest.fixture
def theirs(url: str) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(url)


def told(trial: FrozenTrial) -> dict[str, Any]:
    """Return all that a trial holds, as text where nan would not equal nan."""
    return {**vars(trial), "intermediate_values": {step: repr(v) for step, v in trial.intermediate_values.items()}}


@pytest.mark.parametrize("study", ["s", "other"])
@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE,), (TrialState.WAITING, TrialState.RUNNING), ()])
@pytest.mark.parametrize(("named", "above"), [(set(), -1), (set(), 5), ({4, 6, 9}, 7), ({4}, -1)])
def test_trials_are_those_that_optuna_reads(
    ours: BulkStorage,
    theirs: optuna.storages.RDBStorage,
    study: str,
    states: tuple[TrialState, ...] | None,
    named: set[int],
    above: int,
) -> None:
    number = theirs.get_study_id_from_name(study)
    found, expected = (storage._get_trials(number, states, named, above) for storage in (ours, theirs))
    assert [told(trial) for trial in found] == [told(trial) for trial in expected]
    assert [list(trial.params) for trial in found] == [list(trial.params) for trial in expected]


def test_trials_added_at_once_are_what_optuna_adds_one_by_one(url: str, theirs: optuna.storages.RDBStorage) -> None:
    given = optuna.load_study(study_name="s", storage=url).get_trials()
    one_by_one = optuna.create_study(storage=url, study_name="one by one")
    for trial in given:
        one_by_one.add_trial(trial)
    at_once = theirs.get_study_id_from_name(optuna.create_study(storage=url, study_name="at once").study_name)
    add_trials(theirs, at_once, given[:3])
    add_trials(theirs, at_once, given[3:])
    found, expected = (
        optuna.load_study(study_name=name, storage=url).get_trials() for name in ("at once", "one by one")
    )
    assert [but_for_ids(trial) for trial in found] == [but_for_ids(trial) for trial in expected]
    add_trials(theirs, at_once, [])
    waiting = next(trial.number for trial in given if trial.state == TrialState.WAITING)
    assert optuna.load_study(study_name="at once", storage=url).ask().number == waiting


def but_for_ids(trial: FrozenTrial) -> dict[str, Any]:
    return {name: value for name, value in told(trial).items() if name != "_trial_id"}


def test_a_trial_that_changes_is_read_anew(url: str) -> None:
    study = optuna.load_study(study_name="s", storage=BulkStorage(url))
    before = study.get_trials(deepcopy=False)
    running = next(trial for trial in before if trial.state == TrialState.RUNNING)
    optuna.load_study(study_name="s", storage=url).tell(running.number, 0.7)
    assert study.get_trials(deepcopy=False)[running.number].value == 0.7


@pytest.fixture
def queries(ours: BulkStorage) -> Iterator[list[str]]:
    """The queries that our storage has sent."""
    sent: list[str] = []

    def note(*told: object) -> None:
        sent.append(str(told[2]))

    event.listen(ours.engine, "before_cursor_execute", note)
    yield sent
    event.remove(ours.engine, "before_cursor_execute", note)


def test_a_hundred_trials_take_no_more_queries_than_one(ours: BulkStorage, url: str, queries: list[str]) -> None:
    for name, count in (("one", 1), ("hundred", 100)):
        make_trials(optuna.create_study(storage=url, study_name=name), count)
    counts = []
    for name, count in (("one", 1), ("hundred", 100)):
        number = ours.get_study_id_from_name(name)
        queries.clear()
        assert len(ours._get_trials(number, None, set(), -1)) == count
        counts.append(len(queries))
    assert counts[0] == counts[1] == 6


def test_more_unfinished_trials_than_a_query_can_name_are_read_all(
    ours: BulkStorage, theirs: optuna.storages.RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.search.bulk_storage.MOST_NAMED", 1)
    number = theirs.get_study_id_from_name("s")
    found, expected = (storage._get_trials(number, None, {4, 6, 8}, 7) for storage in (ours, theirs))
    assert [trial.number for trial in found] == [trial.number for trial in expected]

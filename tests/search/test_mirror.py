"""A driver's study in memory says what its database holds, without reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState as OptunaState
from sqlalchemy import event

from sweeper.results import TrialOutcome, TrialState
from sweeper.search.mirror import Mirror
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial
from tests.search.test_lease import A, B
from tests.search.test_replay import run_to_end, sweep_of

STATES = [None, (OptunaState.WAITING,), (OptunaState.COMPLETE, OptunaState.PRUNED), tuple(OptunaState)]


def trials_of(store: StudyStore, states: Any = None) -> list[dict[str, Any]]:
    return [dict(vars(trial)) for trial in store._study.get_trials(deepcopy=False, states=states)]


@pytest.mark.parametrize("pruner", ["hyperband", "plateau"])
def test_what_is_in_memory_is_what_the_database_holds(tmp_path: Path, pruner: str) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, sweep_of("tpe", pruner))
    run_to_end(store)
    for _ in range(2):
        store.set_trials(9)
        assert next_trial(store)
    store.requeue(8)
    assert isinstance(store._study._storage, Mirror)
    for states in STATES:
        assert trials_of(store, states) == trials_of(StudyStore.load(url, "s"), states)
    numbers = {state: store._study._storage.get_n_trials(store._study._study_id, state) for state in OptunaState}
    assert numbers == {state: len(trials_of(StudyStore.load(url, "s"), (state,))) for state in OptunaState}


def test_a_report_reads_nothing_of_other_trials(tmp_path: Path) -> None:
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", sweep_of("random", "median"))
    first, second = next_trial(store), next_trial(store)
    assert first
    assert second
    store.report(first.number, 1, 0.5)
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    store.report(second.number, 1, 0.5)
    assert [statement.split()[0] for statement in asked] == ["INSERT"]


def test_reports_taken_together_are_stored_by_one_statement_at_the_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    store = StudyStore.create_or_load(url, sweep_of("random", "median"))
    for _ in range(2):
        next_trial(store)
    with store.together():
        store.report(0, 1, 0.5)
        store.report(1, 1, 0.25)
        assert StudyStore.load(url, "s").curves([0, 1]) == {0: {}, 1: {}}
    assert StudyStore.load(url, "s").curves([0, 1]) == {0: {1: 0.5}, 1: {1: 0.25}}


def test_what_was_written_before_the_lease_was_taken_is_seen(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    later, earlier = (StudyStore.create_or_load(url, sweep_of("random", "none")) for _ in range(2))
    assert later.rows() == []
    with earlier.held(A, lambda _: False):
        assert next_trial(earlier)
        earlier.finish(0, TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=0.5))
    with later.held(B, lambda _: False):
        assert [row.value for row in later.rows()] == [0.5]
        assert later.remaining() == later.budget - 1

"""The study store on a real PostgreSQL, where one is installed: the same promises as on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError, StudyLocked, StudyTakenOver
from sweeper.search import lease
from sweeper.search.bulk_adding import add_trials
from sweeper.search.bulk_storage import BulkStorage
from sweeper.search.lease import Holder
from sweeper.search.study_store import StudyStore
from tests.postgres import Cluster, is_installed, postgres
from tests.search.asking import next_trial
from tests.search.test_bulk_storage import but_for_ids, make_trials, told
from tests.search.test_replay import DyingStorage, Killed, run_to_end, sweep_of, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg")
    if not is_installed():
        pytest.skip("no PostgreSQL is installed")
    with postgres() as cluster:
        yield cluster


@pytest.fixture
def opened(cluster: Cluster) -> Iterator[Callable[[SweepConfig], StudyStore]]:
    """Opens stores on the cluster, and closes their connections after the test."""
    stores: list[Any] = []

    def open_store(sweep: SweepConfig) -> StudyStore:
        store = StudyStore.create_or_load(cluster.url, sweep)
        stores.append(store._study._storage)
        return store

    yield open_store
    for storage in stores:
        storage.remove_session()
        storage._backend.engine.dispose()


def test_a_driver_that_dies_between_any_two_writes_changes_nothing_on_postgresql(
    opened: Callable[[SweepConfig], StudyStore], tmp_path: Path
) -> None:
    sweep = sweep_of("tpe", "hyperband")
    whole = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'whole.db'}", sweep)
    run_to_end(whole)
    deaths = 0
    while True:
        store = opened(sweep)
        store._study._storage = DyingStorage(store._study._storage, 5 + 7 * deaths % 20)  # type: ignore[assignment]
        try:
            run_to_end(store)
            break
        except Killed:
            deaths += 1
    assert deaths > 3
    assert table(opened(sweep)) == table(whole)


def test_a_server_that_goes_away_is_reported_and_the_study_goes_on_when_it_is_back(
    cluster: Cluster, opened: Callable[[SweepConfig], StudyStore]
) -> None:
    sweep = sweep_of("random", "none").model_copy(update={"study": "away"})
    store = opened(sweep)
    spec = next_trial(store)
    assert spec is not None
    cluster.stop()
    with pytest.raises(StudyError, match="cannot be used"):
        store.report(spec.number, 1, 0.5)
    cluster.start()
    again = opened(sweep)
    assert again.requeue_interrupted() == [spec.number]
    run_to_end(again)
    assert [row.number for row in again.rows()] == list(range(sweep.budget.trials))


def test_one_driver_runs_a_study_and_a_dead_one_is_taken_over_from_for_good_on_postgresql(
    opened: Callable[[SweepConfig], StudyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LOOK_S", 0.02)
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    sweep = sweep_of("random", "none").model_copy(update={"study": "leased"})
    older, newer = opened(sweep), opened(sweep)
    a, b = (Holder(process=number, host="h", user="u", place=place) for number, place in ((1, "a"), (2, "b")))
    with older.held(a, lambda _: False):
        spec = next_trial(older)
        assert spec is not None
        with pytest.raises(StudyLocked, match="process 1 of u on h"), newer.held(b, lambda _: False):
            pass
        with newer.held(b, lambda _: True):
            assert newer.requeue_interrupted() == [spec.number]
            with pytest.raises(StudyTakenOver, match="taken over by process 2 of u on h"):
                older.report(spec.number, 1, 0.9)
            with pytest.raises(StudyTakenOver):
                older.add_seconds_used(5)
            run_to_end(newer)
    assert [row.number for row in opened(sweep).rows()] == list(range(sweep.budget.trials))


def test_trials_are_read_and_added_at_once_on_postgresql(cluster: Cluster) -> None:
    ours, theirs = BulkStorage(cluster.url), RDBStorage(cluster.url)
    study = optuna.create_study(storage=theirs, study_name="bulk")
    study.set_user_attr("sweep", {})
    make_trials(study, 3)
    study.tell(study.ask(), float("inf"))
    asked = study.ask()
    asked.report(float("nan"), 1)
    number = study._study_id
    found, expected = (storage._get_trials(number, None, set(), -1) for storage in (ours, theirs))
    assert [told(trial) for trial in found] == [told(trial) for trial in expected]
    assert ours.study_names("sweep")[0] == "bulk"
    assert ours.counts(number)[:2] == (4, 5)
    assert [trial.number for trial in ours.latest_trials(number, 2)] == [3, 4]
    assert [trial.params for trial in ours.brief_trials(number, -1, "text")] == [trial.params for trial in expected]
    assert ours.curves(number, [0, 3]) == {0: {1: 0.1, 2: 0.2}, 3: {}}
    complete = ours.in_brief(number, optuna.trial.TrialState.COMPLETE)
    assert [trial.values for trial in complete] == [trial.values for trial in expected[:4]]
    at_once = optuna.create_study(storage=theirs, study_name="at once")
    add_trials(theirs, at_once._study_id, expected)
    assert [but_for_ids(trial) for trial in at_once.get_trials()] == [but_for_ids(trial) for trial in expected]
    assert at_once.ask().number == 5  # the database's own counting goes on
    for storage in (ours, theirs):
        storage.remove_session()
        storage.engine.dispose()

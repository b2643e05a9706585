"""One driver a study: a lease in its storage, with a number that every write is held to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from sweeper.errors import ForeignStudy, StudyError, StudyLocked, StudyTakenOver
from sweeper.identity import Identity, Place
from sweeper.results import TrialState
from sweeper.search import lease as lease_module
from sweeper.search.attributes import read, swap
from sweeper.search.lease import Holder, LeaseRecord
from sweeper.search.ownership import stored_study
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial
from tests.search.test_study_store import complete, run_to_end, sweep_of, url

__all__ = ["url"]  # a fixture

A, B = (Holder(process=number, host="h", user="u", place=place) for number, place in ((1, "a"), (2, "b")))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that runs out in an instant, renewed only where a test says so."""
    monkeypatch.setattr(lease_module, "LEASE_S", 0.2)
    monkeypatch.setattr(lease_module, "LOOK_S", 0.02)
    monkeypatch.setattr(lease_module, "RENEW_S", 3600.0)


def alive(_: Holder) -> bool:
    return False


def dead(_: Holder) -> bool:
    return True


def identity_of(place: str, **more: Any) -> Identity:
    where = Place(id=place, user="anna", host="alpha", folder="/home/anna", inode=1, since_ms=0)
    return Identity(id="study", place=where, **more)


@contextmanager
def two_drivers(url: str) -> Iterator[tuple[StudyStore, StudyStore, ExitStack]]:
    """The first holds the study and has begun a trial; the stack takes what the second enters."""
    with ExitStack() as second:
        first = StudyStore.create_or_load(url, sweep_of())
        with first.held(A, alive):
            assert next_trial(first) is not None
            yield first, StudyStore.create_or_load(url, sweep_of()), second


def test_a_holder_that_renews_its_lease_is_left_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.05)
    monkeypatch.setattr(lease_module, "LEASE_S", 30.0)
    with (
        two_drivers(url) as (first, second, stack),
        pytest.raises(StudyLocked, match="process 1 of u on h"),
    ):
        stack.enter_context(second.held(B, alive))
    assert [row.state for row in first.rows()] == [TrialState.RUNNING]


def test_a_lease_that_nobody_renews_is_taken_over_and_the_older_driver_changes_nothing_more(url: str) -> None:
    with two_drivers(url) as (first, second, stack):
        stack.enter_context(second.held(B, alive))
        assert second.requeue_interrupted() == [0]
        spec = next_trial(second)
        assert spec is not None
        writes = [
            lambda: first.report(0, 1, 0.9),
            lambda: first.finish(0, complete(0.9)),
            lambda: first.requeue_interrupted(),
            lambda: first.add_seconds_used(5),
            lambda: first.note("confirmation", {}),
            lambda: first.next_group(1),
        ]
        for write in writes:
            with pytest.raises(StudyTakenOver, match=r"taken over by process 2 of u on h .* writes nothing more"):
                write()
        assert not second.report(0, 1, 0.1)
        second.finish(0, complete(0.1))
        run_to_end(second)
    rows = StudyStore.load(url, "s").rows()
    assert [row.number for row in rows] == list(range(6))
    assert StudyStore.load(url, "s").curves([0])[0] == {1: 0.1}
    assert StudyStore.load(url, "s").seconds_used == 0


def test_a_driver_that_nobody_has_replaced_goes_on_however_long_it_did_not_renew(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    with store.held(A, alive):
        swap(store._engine, 1, "unrelated", None, "1")
        run_to_end(store)
    assert len(store.rows()) == 6


def test_a_holder_known_to_be_dead_and_one_that_has_ended_are_not_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_S", 3600.0)
    with two_drivers(url) as (_, second, stack):
        stack.enter_context(second.held(B, dead))
    third = StudyStore.create_or_load(url, sweep_of())
    with third.held(A, alive):
        run_to_end(third)


def test_each_taking_of_a_lease_has_a_number_of_its_own(url: str) -> None:
    numbers = []
    for _ in range(3):
        store = StudyStore.create_or_load(url, sweep_of())
        with store.held(A, alive):
            assert store._lease is not None
            numbers.append(store._lease.number)
    assert numbers == [1, 2, 3]


def test_a_lease_is_renewed_again_after_a_connection_broke_when_its_renewal_was_written(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def breaks_once(*what: Any) -> bool:
        done = swap(*what)
        written.append(what[-1])
        if len(written) == 2:  # the first one takes the lease
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))
        return done

    monkeypatch.setattr(lease_module, "swap", breaks_once)
    monkeypatch.setattr(lease_module, "RENEW_S", 0.01)
    store, until = StudyStore.create_or_load(url, sweep_of()), time.monotonic() + 30
    with store.held(A, alive):
        while (kept := lease_of(store)).beat < 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert (kept.beat >= 4, kept.holder) == (True, A)
    assert lease_of(store) == LeaseRecord(number=1)


def lease_of(store: StudyStore) -> LeaseRecord:
    with store._engine.connect() as connection:
        return LeaseRecord.model_validate_json(read(connection, store._study._study_id, lease_module.ATTRIBUTE) or "")


def test_a_lease_that_is_anothers_by_now_is_not_renewed(url: str) -> None:
    store = StudyStore.create_or_load(url, sweep_of())
    with store.held(A, alive):
        lease, others = store._lease, LeaseRecord(number=2, holder=B)
        assert lease is not None
        taker = StudyStore.create_or_load(url, sweep_of())._engine
        assert swap(taker, 1, lease_module.ATTRIBUTE, lease._record.model_dump_json(), others.model_dump_json())
        with pytest.raises(StudyTakenOver, match="process 2 of u on h"):
            lease._change(LeaseRecord(number=1, beat=1, holder=A))
    assert lease_of(store) == others


def test_only_one_of_two_that_take_a_free_lease_at_once_gets_it(url: str) -> None:
    engine = StudyStore.create_or_load(url, sweep_of())._engine
    assert swap(engine, 1, "lease", None, "a")
    assert not swap(engine, 1, "lease", None, "b")
    assert not swap(engine, 1, "lease", "b", "c")
    assert swap(engine, 1, "lease", "a", "c")


def test_a_study_belongs_to_the_place_that_was_first_and_to_what_comes_after_it(url: str) -> None:
    assert stored_study(url, "s") is None
    store = StudyStore.create_or_load(url, sweep_of())
    assert [store.identity] == [None]  # which mypy would take for ever, were it asserted by `is`
    store.take_for(identity_of("a"))
    with pytest.raises(ForeignStudy, match="id study, anna on alpha in /home/anna, since 1970-01-01 00:00 UTC"):
        store.take_for(identity_of("b"))
    store.take_for(identity_of("c", formerly=("a",)))
    store.take_for(identity_of("b"), override=True)
    assert store.identity == identity_of("b")
    with pytest.raises(StudyError):
        store.take_for(identity_of("b").model_copy(update={"id": "another"}), override=True)
    known = stored_study(url, "s")
    assert known is not None
    assert known.identity == identity_of("b")

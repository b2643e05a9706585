"""Where trials pause that have other epochs than the rest, and that of the first configuration."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.results import Cut, TrialOutcome, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial
from tests.search.test_study_store import sweep_of, url

__all__ = ["url"]  # a fixture

EPOCHS, LEFT = 30, 12
"""What a trial has by the budget, and what a deadline leaves to each."""


def store_of(url: str, **changes: Any) -> StudyStore:
    budget = {"trials": 4, "epochs": EPOCHS}
    return StudyStore.create_or_load(url, sweep_of(budget=budget, pruner={"name": "promote", "keep": 0.5}, **changes))


def started(store: StudyStore) -> TrialSpec:
    spec = next_trial(store)
    assert spec is not None
    return spec


def train(store: StudyStore, spec: TrialSpec) -> None:
    """Train a trial until it pauses; earlier ones are better."""
    value = 1 - spec.number / 10
    for epoch in range(store.last_epoch(spec.number) + 1, spec.until + 1):
        store.report(spec.number, epoch, value)
    outcome = TrialOutcome(state=TrialState.PAUSED, epochs=spec.until, best_epoch=1, best_value=value)
    store.pause(spec.number, outcome)


@pytest.mark.parametrize("pauses_after", [3, LEFT])
def test_a_trial_that_keeps_more_epochs_than_a_deadline_leaves_goes_on_to_its_own_end(
    url: str, pauses_after: int
) -> None:
    """It paused where the others end, over and over, in an earlier version."""
    store = store_of(url)
    longer = started(store)
    store.plan_epochs(LEFT)
    train(store, longer.model_copy(update={"pause_after": pauses_after}))
    store = store_of(url)
    other = started(store)
    assert (other.until, other.epochs) == (2, LEFT)
    train(store, other)
    on = started(store)
    assert (on.number, on.until, on.epochs) == (longer.number, EPOCHS, EPOCHS)


@pytest.mark.parametrize("cut", [True, False])
def test_the_first_queued_configuration_does_not_pause_though_it_is_trained_again_with_fewer_epochs(
    url: str, cut: bool
) -> None:
    store = store_of(url)
    store.enqueue({"thought_good": {"drop_rate": 0.2}})
    first = started(store)
    assert first.until == EPOCHS
    store.report(first.number, 1, 0.5)
    store.plan_epochs(LEFT)
    if cut:
        store.cut(first.number, 1, Cut(why="too many epochs", again=True))
        store.finish(first.number, TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.5))
    else:
        store.finish(first.number, TrialOutcome(state=TrialState.FAILED, reason="it broke"))
        store.retry_failed()
    again = started(store)
    assert again.config.drop_rate == 0.2
    assert again.until == (LEFT if cut else 2)
    assert started(store).until == 2

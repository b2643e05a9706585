"""A study whose search space names no pruner keeps the one that it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import StudyChanged
from sweeper.search.study_store import StudyStore
from tests.search.test_study_store import sweep_of


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.mark.parametrize(("first", "later"), [(6, 40), (40, 40)])
def test_a_study_keeps_the_pruner_it_began_with_where_none_is_named(url: str, first: int, later: int) -> None:
    begun = StudyStore.create_or_load(url, sweep_of(budget={"trials": first, "epochs": 20})).sweep.pruner
    assert begun.name == ("median" if first == 6 else "promote")
    more = {"trials": later, "epochs": 20}
    assert StudyStore.create_or_load(url, sweep_of(budget=more)).sweep.pruner == begun
    other = "hyperband"  # and named
    with pytest.raises(StudyChanged, match="pruner"):
        StudyStore.create_or_load(url, sweep_of(budget=more, pruner=other))
    assert StudyStore.create_or_load(url, sweep_of(budget=more, pruner=begun.name)).sweep.pruner == begun


def test_a_study_that_an_earlier_version_began_without_a_named_pruner_keeps_the_median(url: str) -> None:
    budget = {"trials": 40, "epochs": 20}
    StudyStore.create_or_load(url, sweep_of(budget=budget, pruner="median"))  # the default of that time
    store = StudyStore.create_or_load(url, sweep_of(budget=budget))
    assert store.sweep.pruner.name == "median"
    assert StudyStore.load(url, "s").sweep.pruner.name == "median"


@pytest.mark.parametrize(("first", "later"), [("auto", "bfloat16"), ("bfloat16", "auto")])
def test_another_precision_is_another_study(url: str, first: str, later: str) -> None:
    StudyStore.create_or_load(url, sweep_of(precision=first))
    with pytest.raises(StudyChanged, match="precision"):
        StudyStore.create_or_load(url, sweep_of(precision=later))

"""The end of a run with a deadline: who is trained again, and what others see meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.confirm.finishing import finish_by
from sweeper.confirm.repetitions import leaders_to_confirm
from sweeper.paths import Workspace
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.stored_trial import CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.confirmation import confirmation
from sweeper.study.deadline import Deadline
from sweeper.study.lock import EXPORTS, other_work, study_lock


def study(folder: Path, values: list[float]) -> StudyStore:
    sweep = SweepConfig.model_validate(
        {
            "study": "s",
            "dataset": {"builtin": "digits"},
            "budget": {"trials": 9},
            "search": {"backbone": "resnet10t", "optimizer": {"name": "sgd", "lr": {"float": [0.001, 1.0]}}},
        }
    )
    store = StudyStore.create_or_load(f"sqlite:///{folder / 'optuna.db'}", sweep)
    for value in values:
        end(store, value)
    return store


def end(store: StudyStore, value: float) -> None:
    (spec,) = store.next_group(1)
    outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=value)
    store.finish(spec.number, outcome)


def confirm(store: StudyStore, trial: int) -> None:
    row = store.rows()[trial]
    outcomes = [TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=0.7)] * 2
    found = confirmation([row], {trial: outcomes}, store.sweep.objective, 2, 3)
    store.note(CONFIRMATION, found.model_dump(mode="json"))


def test_who_was_confirmed_is_compared_with_those_that_lead_now(tmp_path: Path) -> None:
    store = study(tmp_path, [0.5, 0.7, 0.6])
    assert [row.number for row in leaders_to_confirm(store, 2)] == [1, 2]
    confirm(store, 2)
    assert [row.number for row in leaders_to_confirm(store, 2)] == [1, 2]
    end(store, 0.8)
    assert [row.number for row in leaders_to_confirm(store, 2)] == [3, 1, 2]


@pytest.mark.parametrize("held", [False, True])
def test_others_see_that_a_run_goes_on_while_it_exports(tmp_path: Path, held: bool) -> None:
    workspace, store, seen = Workspace(tmp_path), study(tmp_path, [0.5]), []
    folder = workspace.study("s")

    def export(number: int) -> None:
        seen.append((number, other_work(folder)))

    deadline = Deadline(None, 3600)
    if held:
        with study_lock(folder, "s", which="delivers its runs"):
            assert finish_by(deadline, store, workspace, export, lambda _: None)
    else:
        assert finish_by(deadline, store, workspace, export, lambda _: None)
    numbers, others = zip(*seen, strict=True)
    assert set(numbers) == {0}
    assert all(other.endswith("delivers its runs" if held else EXPORTS) for other in others)
    assert other_work(folder) is None

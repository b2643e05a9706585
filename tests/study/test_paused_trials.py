"""A driver that dies while it ends paused trials: the next one ends them before any of them goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import Event, TrialEnded
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.driver import Driver
from sweeper.study.time_limit import TimeLimit
from sweeper.tracking.outbox import DeliveryPhase
from tests.standings.test_ranking import row
from tests.study.test_driver import Notices, ScriptedEngine, Silent, drive, epoch, stored, sweep_of


class TimeForSome(TimeLimit):
    """Lets a number of groups begin."""

    def __init__(self, groups: int):
        self._left = groups

    def used_up(self) -> str | None:
        return None if self._left > 0 else "the time is used up"

    def group_started(self, group: Sequence[TrialSpec]) -> None:
        self._left -= 1


class Submitting(ScriptedEngine):
    """Refuses a trial that has an outcome on disk, which its worker would end at once."""

    def __init__(self, folder: Path):
        super().__init__(trains)
        self._folder = Workspace(folder).study("s")
        self.gone_on: list[int] = []

    def submit(self, group: Sequence[TrialSpec]) -> None:
        for spec in group:
            assert not self._folder.trial(spec.number).outcome.exists()
            self.gone_on.append(spec.number)
        super().submit(group)


def trains(spec: TrialSpec) -> Iterator[Event]:
    """Train up to the epoch after which the trial pauses; earlier trials are better."""
    value = 1 - spec.number / 10
    for number in range(1, spec.until + 1):
        yield epoch(spec, number, value)
    state = TrialState.COMPLETE if spec.until == spec.epochs else TrialState.PAUSED
    yield TrialEnded(spec.number, TrialOutcome(state=state, epochs=spec.until, best_epoch=1, best_value=value))


def promoting(trials: int) -> SweepConfig:
    pruner = {"name": "promote", "rungs": [1], "keep": 0.5}
    sweep = sweep_of(trials=trials).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return SweepConfig.model_validate({**sweep, "pruner": pruner})


def test_a_paused_trial_whose_end_is_on_disk_is_ended_and_never_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, ended = StudyStore.finish, []

    def dies_at_the_first(store: StudyStore, number: int, outcome: TrialOutcome, run: str | None = None) -> Any:
        if outcome.state is TrialState.PRUNED:
            ended.append(number)
            raise StudyError("the machine is lost")
        return finish(store, number, outcome, run)

    with monkeypatch.context() as patch:
        patch.setattr(StudyStore, "finish", dies_at_the_first)
        with pytest.raises(StudyError, match="lost"):
            drive(tmp_path, Submitting(tmp_path), promoting(8), limit=TimeForSome(4))
    (number,) = ended
    assert stored(tmp_path).rows()[number].state is TrialState.PAUSED
    assert Workspace(tmp_path).study("s").trial(number).outcome.exists()
    engine = Submitting(tmp_path)
    result, _ = drive(tmp_path, engine, promoting(8))
    assert number not in engine.gone_on
    assert result.rows[number].reason == "paused after epoch 1, and the search ended: the time is used up"
    assert all(row.state.ended for row in result.rows)


def test_the_run_of_a_paused_trial_that_a_dead_driver_has_left_open_is_closed(tmp_path: Path) -> None:
    folder, notices = Workspace(tmp_path).study("s"), Notices()
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", promoting(8))
    states = {0: TrialState.PAUSED, 1: TrialState.WAITING, 2: TrialState.RUNNING, 3: TrialState.COMPLETE}
    for number in states:
        folder.trial(number).path.mkdir(parents=True)
    driver = Driver(store, folder, notices, Silent())  # type: ignore[arg-type]
    driver._send_leftovers([row(number, 0.5, state) for number, state in states.items()])
    assert notices.phases == {
        0: DeliveryPhase.INTERRUPTED,
        1: DeliveryPhase.INTERRUPTED,
        3: DeliveryPhase.ENDED,
    }


def test_trials_that_are_paused_when_the_time_is_used_up_say_so_and_not_that_others_were_better(tmp_path: Path) -> None:
    result, _ = drive(tmp_path, Submitting(tmp_path), promoting(8), limit=TimeForSome(4))
    (why,) = {row.reason for row in result.rows if row.state is TrialState.PRUNED}
    assert why == f"paused after epoch 1, and the search ended: {result.stopped_because}"

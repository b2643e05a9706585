"""Which epochs of a trial are trained and compared when it is reproduced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sweeper.confirm.reproduction import Logged, compare, read_logged, train_again, with_beginning
from sweeper.display.reproduction import reproduction_lines
from sweeper.engines.protocol import EpochFinished, TrialEnded
from sweeper.errors import StudyError
from sweeper.paths import CONFIG, SEARCH_SPACE, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialStart, TrialState

SPACE = {"study": "s", "dataset": {"builtin": "digits"}, "budget": {"epochs": 5}, "search": {"backbone": "r"}}


class Records:
    """A run of MLflow whose accuracy in an epoch is a hundredth of its number."""

    def __init__(self, epochs: int, planned: int = 5, space: Any = SPACE):
        params = {"seed": "1", "epochs": str(planned)}
        metrics = {"val/accuracy": 0.5, "time/epoch_s": 1.0}
        self._run = SimpleNamespace(parent="p", params=params, metrics=metrics, name="trial-0003", tags={})
        self._curve = {epoch: epoch / 100 for epoch in range(1, epochs + 1)}
        self._space = space

    def run(self, run: str) -> Any:
        return self._run if run == "r" else SimpleNamespace(parent=None)

    def download(self, run: str, name: str, into: Path) -> Path:
        content = {CONFIG: {"search": {"backbone": "r"}}, SEARCH_SPACE: self._space}[name]
        (into / Path(name).name).write_text(yaml.safe_dump(content))
        return into / Path(name).name

    def curves(self, runs: list[str], metrics: list[str]) -> Any:
        return {"r": dict.fromkeys(metrics, self._curve)}


class Machine:
    """An engine whose only trial goes on until it is told to end, or has all its epochs."""

    idle = True

    def submit(self, group: list[TrialSpec]) -> None:
        [spec] = group
        self._spec, self._epoch, self._ended = spec, spec.epochs_before, False

    def answer(self, number: int, *, prune: bool) -> None:
        self._ended = prune

    def events(self, seconds: float) -> Any:
        if self._ended or self._epoch == self._spec.epochs:
            return [TrialEnded(0, TrialOutcome(state=TrialState.COMPLETE, epochs=self._epoch))]
        self._epoch += 1
        values = {"val/accuracy": self._epoch / 100}
        return [EpochFinished(0, EpochMetrics(epoch=self._epoch, values=values, timestamp_ms=1))]


def logged_as(tmp_path: Path, *given: Any) -> Logged:
    store: Any = Records(*given)
    return read_logged(store, "r", tmp_path)


def reproduced(logged: Logged) -> str:
    machine: Any = Machine()
    return " ".join(reproduction_lines(compare(logged, *train_again(logged, machine)), 0.01))


@pytest.mark.parametrize(("epochs", "told"), [(1, "in its only epoch"), (2, "in all 2 epochs"), (5, "in all 5 epochs")])
def test_a_trial_that_ended_early_is_trained_and_compared_up_to_where_it_ended(
    tmp_path: Path, epochs: int, told: str
) -> None:
    assert reproduced(logged_as(tmp_path, epochs)).endswith(f"same to the last digit {told}")


def test_a_continuation_is_compared_from_its_own_first_epoch(tmp_path: Path) -> None:
    logged = logged_as(tmp_path, 5)
    start = TrialStart(epochs=3, weights="w")
    going_on = replace(logged, spec=logged.spec.model_copy(update={"start": start}))
    assert reproduced(going_on).endswith("in all 2 epochs")


def test_a_continuation_without_an_epoch_of_its_own_is_not_called_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.confirm.reproduction.with_kept_weights", lambda config, *_: config)
    monkeypatch.setattr("sweeper.confirm.reproduction.kept_teacher", lambda *_: None)
    monkeypatch.setattr("sweeper.confirm.reproduction.kept_start", lambda *_: TrialStart(epochs=3, weights="w"))
    assert with_beginning(logged_as(tmp_path, 4), Workspace(tmp_path)).spec.epochs_before == 3
    with pytest.raises(StudyError, match="no metrics that could come out again: it has not finished an epoch of its"):
        with_beginning(logged_as(tmp_path, 3), Workspace(tmp_path))


def test_a_cross_validated_trial_with_all_its_folds_is_not_ended_early(tmp_path: Path) -> None:
    folded = {**SPACE, "dataset": {"builtin": "digits", "folds": 3}}
    assert logged_as(tmp_path, 3, 10, folded).stopped_at is None
    assert logged_as(tmp_path, 2, 10, folded).stopped_at == 2

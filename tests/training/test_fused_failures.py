"""Trials that cannot be trained together go on one by one, and what fails then fails alone."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.results import TrialOutcome, TrialSpec, TrialState
from sweeper.scores.metrics import StackedMetrics
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.learner import build_learner
from sweeper.training.stack import fused
from sweeper.training.stack.fused_head import FusedHead
from sweeper.training.trainer import train
from tests.training.test_fused import alone, close, data, features, fuse, various

__all__ = ["data", "features"]  # fixtures


def test_a_stack_that_fails_as_a_whole_goes_on_one_by_one(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = various(weights, 2)
    run_epoch, calls = fused._run_epoch, iter(range(9))

    def fail_in_the_second(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise torch.OutOfMemoryError("no room for two")
        return run_epoch(*arguments)

    monkeypatch.setattr(fused, "_run_epoch", fail_in_the_second)
    outcomes, histories = fuse(specs, tmp_path / "fused", data, features)
    for spec in specs:
        _, expected = alone(spec, tmp_path / f"alone-{spec.number}", data, features)
        assert outcomes[spec.number].state is TrialState.COMPLETE
        close(histories[spec.number][-3:], expected)


def test_what_a_failed_stack_held_is_free_while_its_trials_go_on_one_by_one(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []

    class Watched(FusedHead):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            held.append(weakref.ref(next(iter(self.parameters.values()))))

    def refused(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room for two")

    alive: list[bool] = []

    def one(*arguments: Any, **options: Any) -> TrialOutcome:
        gc.collect()
        alive.append(any(weight() is not None for weight in held))
        return train(*arguments, **options)

    monkeypatch.setattr(fused, "FusedHead", Watched)
    monkeypatch.setattr(StackedMetrics, "update", refused)
    monkeypatch.setattr(fused, "train", one)
    fuse(various(weights, 2), tmp_path, data, features)
    assert len(held) == 1
    assert alive == [False, False]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room for the second"), ValueError("an odd head")])
def test_a_member_that_cannot_be_opened_lets_all_go_on_one_by_one_and_fails_alone(
    tmp_path: Path,
    weights: str,
    data: TrialData,
    features: FrozenFeatures,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = various(weights, 3)
    build = build_learner

    def build_stacked(spec: TrialSpec, *arguments: Any, **options: Any) -> Any:
        if spec.number == 1:
            raise error
        return build(spec, *arguments, **options)

    monkeypatch.setattr(fused, "build_learner", build_stacked)
    outcomes, _ = fuse(specs, tmp_path / "stack", data, features)
    assert {outcome.state for outcome in outcomes.values()} == {TrialState.COMPLETE}

    def trains(spec: TrialSpec, *arguments: Any) -> TrialOutcome:
        if spec.number == 1:
            raise error
        return train(spec, *arguments)

    monkeypatch.setattr(fused, "train", trains)
    outcomes, _ = fuse(specs, tmp_path / "alone", data, features)
    assert [outcomes[number].state for number in range(3)] == [
        TrialState.COMPLETE,
        TrialState.FAILED,
        TrialState.COMPLETE,
    ]

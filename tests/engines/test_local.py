"""Warm worker processes of this machine; what every engine does is in tests/conformance/test_engines.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweeper.allowance import usable_cores
from sweeper.config.sweep import FeaturesConfig, SweepConfig
from sweeper.engines.local import MAX_FAILED_STARTS, MOST_WORKERS, LocalEngine
from sweeper.engines.protocol import AtWork, EpochFinished, Event, SlotRetired, TrialEnded, WorkerDied, WorkerReady
from sweeper.paths import Workspace
from sweeper.results import TrialState, read_outcome
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

PATIENCE_S = 120.0


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    write_split_folders(tmp_path / "images")
    content = {
        "study": "s",
        "dataset": {"path": str(tmp_path / "images")},
        "search": {"backbone": "test_resnet"},
        "device": "cpu",
    }
    return SweepConfig.model_validate(content)


@pytest.fixture
def oom_kills() -> list[int]:
    """The kernel's count of kills for memory, as the last of these."""
    return [3]


@pytest.fixture
def engine(sweep: SweepConfig, tmp_path: Path, oom_kills: list[int]) -> Iterator[LocalEngine]:
    engine = LocalEngine(sweep, Workspace(tmp_path), workers=1, oom_kills=lambda: oom_kills[-1])
    yield engine
    engine.close()


def wait_for(engine: LocalEngine, kind: type[Event] | tuple[type[Event], ...]) -> Event:
    """Return the first event of a kind, or of one of several; epochs on the way are answered with `go on`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in engine.events(1):
            if isinstance(event, kind):
                return event
            if isinstance(event, EpochFinished):
                engine.answer(event.number, prune=False)
    raise AssertionError(f"no {kind} within {PATIENCE_S} s")


@pytest.mark.parametrize("damaged", ["outcome", "history"])
def test_a_trial_that_has_ended_is_trained_again_where_what_it_left_is_damaged(
    damaged: str, engine: LocalEngine, sweep: SweepConfig, tmp_path: Path
) -> None:
    spec, folder = spec_of(epochs=2), Workspace(tmp_path).study("s").trial(0)
    wait_for(engine, WorkerReady)
    engine.submit([spec])
    first = wait_for(engine, TrialEnded)
    file: Path = getattr(folder, damaged)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0", b"1"))
    engine.submit([spec])
    again = wait_for(engine, (TrialEnded, WorkerDied))
    assert isinstance(first, TrialEnded)
    assert isinstance(again, TrialEnded), again
    assert again.outcome.state is TrialState.COMPLETE
    assert again.outcome.best_metrics["val/loss"] == first.outcome.best_metrics["val/loss"]
    assert read_outcome(folder.outcome) == again.outcome
    assert f"{file} is damaged" in (Workspace(tmp_path).study("s").worker_logs / "worker-0.log").read_text()


def test_a_kill_for_want_of_memory_is_distinguished_from_any_other(engine: LocalEngine, oom_kills: list[int]) -> None:
    wait_for(engine, WorkerReady)
    engine.submit([spec_of(epochs=50)])
    for kernel_has_killed in (False, True):
        wait_for(engine, EpochFinished)
        if kernel_has_killed:
            oom_kills.append(4)
        (slot,) = engine._slots
        os.kill(slot.process.pid or 0, signal.SIGKILL)
        died = wait_for(engine, WorkerDied)
        assert isinstance(died, WorkerDied)
        assert "SIGKILL" in died.reason
        assert died.for_memory is kernel_has_killed
        assert ("because memory ran out" in died.reason) is kernel_has_killed
        wait_for(engine, WorkerReady)
        engine.submit([spec_of(epochs=50)])
    assert not engine._kernel_has_killed()  # that kill is accounted for


def test_a_group_is_trained_at_once_and_of_a_dead_worker_each_unfinished_member_is_reported(
    sweep: SweepConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    fused = sweep.model_copy(update={"features": FeaturesConfig(fuse=3)})
    engine = LocalEngine(fused, Workspace(tmp_path), workers=1)
    head: dict[str, Any] = {"trainable": "head", "pretrained": str(weights)}
    group = [spec_of(number=0, epochs=1, **head), *(spec_of(number=n, epochs=50, **head) for n in (1, 2))]
    try:
        wait_for(engine, WorkerReady)
        engine.submit(group)
        assert engine.idle == 0
        ended = wait_for(engine, TrialEnded)
        assert isinstance(ended, TrialEnded)
        assert (ended.number, ended.outcome.on_features) == (0, True)
        assert engine.idle == 0
        seen: set[int] = set()
        while seen != {1, 2}:
            epoch = wait_for(engine, EpochFinished)
            assert isinstance(epoch, EpochFinished)
            seen.add(epoch.number)
            engine.answer(epoch.number, prune=False)
        os.kill(engine._slots[0].process.pid or 0, signal.SIGKILL)
        dead: list[int | None] = []
        while not dead:
            dead += [event.number for event in engine.events(1) if isinstance(event, WorkerDied)]
        assert dead == [1, 2]
    finally:
        engine.close()


@pytest.mark.parametrize("together", [1, 2])
def test_a_worker_that_computes_features_gives_signs_of_life(sweep: SweepConfig, tmp_path: Path, together: int) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    fused = sweep.model_copy(update={"features": FeaturesConfig(fuse=together)})
    engine = LocalEngine(fused, Workspace(tmp_path), workers=1)
    try:
        wait_for(engine, WorkerReady)
        engine.submit([spec_of(number=n, epochs=1, trainable="head", pretrained=str(weights)) for n in range(together)])
        assert wait_for(engine, (AtWork, EpochFinished)) == AtWork(0)
    finally:
        engine.close()


def test_as_many_workers_as_have_room_start_once_a_trial_is_measured(sweep: SweepConfig, tmp_path: Path) -> None:
    engine = LocalEngine(sweep, Workspace(tmp_path), workers="auto")
    try:
        wait_for(engine, WorkerReady)
        assert (engine.idle, len(engine._slots)) == (1, 1)
        engine.submit([spec_of(epochs=2)])
        wait_for(engine, EpochFinished)
        assert len(engine._slots) == min(usable_cores(), MOST_WORKERS)
        engine.answer(0, prune=False)
        wait_for(engine, TrialEnded)
        assert not (tmp_path / ".sweeper" / "micro-batches").exists()
    finally:
        engine.close()


def test_where_memory_runs_out_fewer_workers_go_on_and_the_trial_is_not_at_fault(
    sweep: SweepConfig, tmp_path: Path, oom_kills: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.engines.local.usable_cores", lambda: 2)
    engine = LocalEngine(sweep, Workspace(tmp_path), workers="auto", oom_kills=lambda: oom_kills[-1])

    def killed_by_the_kernel(number: int) -> WorkerDied:
        oom_kills.append(oom_kills[-1] + 1)
        (slot,) = [slot for slot in engine._slots if slot.numbers == [number]]
        os.kill(slot.process.pid or 0, signal.SIGKILL)
        died = wait_for(engine, WorkerDied)
        assert isinstance(died, WorkerDied)
        assert died.number == number
        return died

    try:
        wait_for(engine, WorkerReady)
        engine.submit([spec_of(number=0, epochs=50)])
        wait_for(engine, EpochFinished)
        assert killed_by_the_kernel(0).for_memory, "beside a worker that was on no trial"
        for number in (1, 2):
            while not engine.idle:
                wait_for(engine, (WorkerReady, EpochFinished))
            engine.submit([spec_of(number=number, epochs=500)])
        assert len(engine._slots) == 2
        died = killed_by_the_kernel(1)
        assert (died.for_memory, died.blameless) == (False, True)
        assert died.reason.endswith("because memory ran out; from now on at most 1 trial at once on its device")
        assert len(engine._slots) == 1
        assert killed_by_the_kernel(2).for_memory, "alone"
    finally:
        engine.close()


def test_a_worker_that_cannot_start_says_why_and_its_slot_is_given_up_after_three(
    sweep: SweepConfig, tmp_path: Path
) -> None:
    engine = LocalEngine(sweep.model_copy(update={"device": "cuda:99"}), Workspace(tmp_path), workers=1)
    events: list[Event] = []
    try:
        while not events or not isinstance(events[-1], SlotRetired):
            events += engine.events(1)
    finally:
        engine.close()
    died = [event for event in events if isinstance(event, WorkerDied)]
    assert [event.number for event in died] == [None] * MAX_FAILED_STARTS
    assert died[0].reason == "device cuda:99 was asked for and torch sees 0 CUDA devices; use auto or cpu"
    assert events[-1] == SlotRetired(died[0].reason, left=0)

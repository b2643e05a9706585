"""One trial on several devices: processes that train it together, on the CPU, and what becomes of it when one fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save_file

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines import resources
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import EpochFinished, Event, SlotRetired, TrialEnded, WorkerDied, WorkerReady, WorkerSetup
from sweeper.engines.rank import PROCESS_NAME
from sweeper.errors import DeviceError
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.ensemble import Ensemble
from sweeper.paths import Workspace
from sweeper.results import Teacher, TrialState
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

pytestmark = pytest.mark.sweeps

PATIENCE_S = 60.0

FAILING = """
import timm
import torch
from timm.models import register_model


def failing(ranks, options):
    network = timm.create_model("test_resnet", **options)

    def fail(module, _):
        if module.training and torch.distributed.get_rank() in ranks:
            raise TypeError(f"no good on rank {torch.distributed.get_rank()}")

    network.register_forward_pre_hook(fail)
    return network


@register_model
def failing_everywhere(pretrained=False, **options):
    return failing({0, 1}, options)


@register_model
def failing_on_second(pretrained=False, **options):
    return failing({1}, options)
"""


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    write_split_folders(tmp_path / "images")
    (tmp_path / "failing.py").write_text(FAILING)
    content = {
        "study": "s",
        "dataset": {"path": str(tmp_path / "images")},
        "search": {"backbone": "test_resnet"},
        "model_files": [str(tmp_path / "failing.py")],
        "device": "cpu",
        "devices_per_trial": 2,
    }
    return SweepConfig.model_validate(content)


@pytest.fixture
def engine(sweep: SweepConfig, tmp_path: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine(sweep, Workspace(tmp_path), workers=1)
    yield engine
    engine.close()


def wait_for(engine: LocalEngine, *kinds: type[Event]) -> Event:
    """Return the first event of some kinds; epochs on the way are answered with `go on`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in engine.events(1):
            if isinstance(event, kinds):
                return event
            assert not isinstance(event, SlotRetired), event.reason
            if isinstance(event, EpochFinished):
                engine.answer(event.number, prune=False)
    raise AssertionError(f"no {kinds} within {PATIENCE_S} s")


def ranks_of(engine: LocalEngine) -> list[psutil.Process]:
    (slot,) = engine._slots
    children = psutil.Process(slot.process.pid).children(recursive=True)
    return [child for child in children if child.name() == PROCESS_NAME.decode()]


def test_a_rank_that_is_killed_ends_its_worker_in_the_same_way_and_the_trial_goes_on(engine: LocalEngine) -> None:
    wait_for(engine, WorkerReady)
    spec = spec_of(epochs=30)
    engine.submit([spec])
    wait_for(engine, EpochFinished)
    engine.answer(0, prune=False)
    (rank,) = ranks_of(engine)
    os.kill(rank.pid, signal.SIGKILL)
    died = wait_for(engine, WorkerDied)
    assert isinstance(died, WorkerDied)
    assert died.number == 0
    assert "killed by SIGKILL" in died.reason
    wait_for(engine, WorkerReady)
    engine.submit([spec])
    ended = wait_for(engine, TrialEnded)
    assert isinstance(ended, TrialEnded)
    assert (ended.outcome.state, ended.outcome.epochs) == (TrialState.COMPLETE, 30)


def test_all_ranks_make_the_average_of_the_best_epochs(engine: LocalEngine, tmp_path: Path) -> None:
    wait_for(engine, WorkerReady)
    noisy: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.3}, "scheduler": "constant", "batch_size": 8}
    engine.submit([spec_of(epochs=6, epoch_soup=4, **noisy), spec_of(number=1, epochs=2)])
    ended = wait_for(engine, TrialEnded, WorkerDied)
    assert isinstance(ended, TrialEnded)
    outcome = ended.outcome
    assert outcome.soup is not None
    assert len(outcome.averaged_epochs) > 1
    folder = Workspace(tmp_path).study("s").trial(0)
    assert outcome.best_epoch is not None
    assert [path.name for path in folder.weights.iterdir()] == [folder.weights_of(outcome.best_epoch).name]
    assert not list(folder.leading.iterdir())
    ended = wait_for(engine, TrialEnded, WorkerDied)  # the ranks are in step still
    assert isinstance(ended, TrialEnded)
    assert ended.outcome.state is TrialState.COMPLETE


def test_a_fault_of_a_network_fails_the_trial_and_the_next_one_is_trained(engine: LocalEngine) -> None:
    wait_for(engine, WorkerReady)
    engine.submit([spec_of(number=0, backbone="failing_everywhere")])
    failed = wait_for(engine, TrialEnded)
    assert isinstance(failed, TrialEnded)
    assert failed.outcome.state is TrialState.FAILED
    assert failed.outcome.reason == "TypeError: no good on rank 0"
    engine.submit([spec_of(number=1, epochs=2)])
    ended = wait_for(engine, TrialEnded, WorkerDied)
    assert isinstance(ended, TrialEnded)
    assert ended.outcome.state is TrialState.COMPLETE


def test_a_rank_that_fails_alone_ends_the_worker_with_its_reason(engine: LocalEngine) -> None:
    wait_for(engine, WorkerReady)
    engine.submit([spec_of(number=0, backbone="failing_on_second")])
    died = wait_for(engine, TrialEnded, WorkerDied)
    assert isinstance(died, WorkerDied)
    assert "device 2 of the trial: TypeError: no good on rank 1" in died.reason


def test_no_rank_outlives_its_worker(engine: LocalEngine) -> None:
    wait_for(engine, WorkerReady)
    (rank,) = ranks_of(engine)
    os.kill(engine._slots[0].process.pid or 0, signal.SIGKILL)
    rank.wait(30)


def test_each_rank_has_a_device_of_its_own(sweep: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def open_device(_: str, number: int, precision: str) -> None:
        assert precision == sweep.precision
        opened.append(number)
        raise DeviceError("seen")

    monkeypatch.setattr("sweeper.training.device.open_device", open_device)
    for slot in range(2):
        for rank in range(2):
            setup = WorkerSetup("", str(tmp_path), str(tmp_path), slot, threads=1, device=slot)
            with pytest.raises(DeviceError, match="seen"):
                resources.Resources(sweep, setup, rank)
    assert opened == [0, 1, 2, 3]


def test_more_devices_than_there_are_end_the_start_with_both_numbers(
    sweep: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.training.device.open_device", lambda *_: torch.device("cuda", 0))
    setup = WorkerSetup("", str(tmp_path), str(tmp_path), slot=0, threads=1)
    with pytest.raises(DeviceError, match="devices_per_trial: 2 asks for more devices than there are here, 1 of cuda"):
        resources.Resources(sweep, setup)


def test_groups_of_devices_are_counted_not_devices(sweep: SweepConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.training.device.devices_like", lambda _: 5)
    assert resources.places(sweep) == 2
    monkeypatch.setattr("sweeper.training.device.devices_like", lambda _: 1)
    assert resources.places(sweep) == 1


def test_an_ensemble_teaches_on_several_devices_what_it_teaches_on_one(sweep: SweepConfig, tmp_path: Path) -> None:
    torch.manual_seed(5)
    member = TrialConfig(backbone="test_resnet", image_size=12)
    whole = Ensemble([build_classifier(member, 2), build_classifier(member, 2)])
    save_file(whole.state_dict(), tmp_path / "teacher.safetensors")
    weights = str(tmp_path / "teacher.safetensors")
    teacher = Teacher(weights=weights, digest="0" * 32, networks=(member, member), classes=2)
    still: dict[str, Any] = {
        "backbone": "test_vit",
        "image_size": 16,
        "batch_size": 7,
        "optimizer": {"name": "sgd", "lr": 0.02},  # Adam makes rounding errors of small gradients as large as its step
    }
    taught = spec_of(**still, teacher={"name": "study:big/ensemble", "weight": 0.8})  # no batch normalisation
    losses = []
    for many in (1, 2):
        of_many = sweep.model_copy(update={"devices_per_trial": many})
        engine = LocalEngine(of_many, Workspace(tmp_path / str(many)), workers=1)
        try:
            wait_for(engine, WorkerReady)
            engine.submit([taught.model_copy(update={"teacher": teacher})])
            losses.append([wait_for_epoch(engine) for _ in range(taught.epochs)])
        finally:
            engine.close()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def wait_for_epoch(engine: LocalEngine) -> float:
    """Return the training loss of the next epoch, and let the trial go on."""
    epoch = wait_for(engine, EpochFinished)
    assert isinstance(epoch, EpochFinished)
    engine.answer(epoch.number, prune=False)
    return epoch.metrics.values["train/loss"]

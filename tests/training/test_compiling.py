"""Networks are compiled where that is asked for or repays its time, and learn the same."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sweeper.data.batches import Batch, evaluation_batch
from sweeper.training.compiling import PLAIN_EPOCHS, WORTH_A_TRY_S, Compilation, Compiling, StepTimes
from sweeper.training.forward import Forward
from sweeper.training.learner import build_learner
from sweeper.training.memory import make_room
from sweeper.training.step_graph import Recorder, keeps_tensors_aside
from tests.training.learnable import CPU, colored, comparable, run, spec_of

STEPS = 100


def compiling(file: Path | None, wish: bool | str = "auto") -> Compiling:
    return Compiling(Forward(nn.Linear(4, 2), CPU), Compilation(wish, file), batch_size=8)  # type: ignore[arg-type]


def epoch(trial: Compiling, steps_left: int, step_s: float, extra_s: float = 0.0) -> bool:
    """Pass an epoch whose steps take this long, and return whether it was one of compiled code."""
    trial.before_epoch(steps_left)
    trial.after_epoch(STEPS, STEPS * step_s + extra_s)
    return trial.forward.compiled


def known(file: Path, plain_s: float, compiled_s: float, compile_s: float) -> Path:
    Compilation("auto", file).remember(StepTimes(plain_s=plain_s, compiled_s=compiled_s, compile_s=compile_s))
    return file


def test_without_a_wish_nothing_is_compiled_or_kept(tmp_path: Path) -> None:
    trial = compiling(tmp_path / "times.json", wish=False)
    assert not any(epoch(trial, 10**9, step_s=1.0) for _ in range(5))
    assert not list(tmp_path.iterdir())


def test_a_wish_compiles_from_the_first_epoch(tmp_path: Path) -> None:
    assert epoch(compiling(tmp_path / "times.json", wish=True), 1, step_s=0.001)


def test_the_first_long_trial_of_a_kind_tries_it_and_keeps_the_times(tmp_path: Path) -> None:
    file = tmp_path / "kind" / "times.json"
    trial = compiling(file)
    many = int(2 * WORTH_A_TRY_S / 0.5)
    before = [epoch(trial, many, step_s=0.5) for _ in range(PLAIN_EPOCHS)]
    assert not any(before)
    assert epoch(trial, many, step_s=0.2, extra_s=40)
    assert epoch(trial, many, step_s=0.2)
    times = Compilation("auto", file).recall()
    assert times.plain_s == pytest.approx(0.5)
    assert times.compiled_s == pytest.approx(0.2)
    assert times.compile_s == pytest.approx(40)


def test_a_try_that_brings_nothing_is_given_up_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    trial, many = compiling(file), int(2 * WORTH_A_TRY_S / 0.5)
    epochs = [epoch(trial, many, step_s) for step_s in (0.5, 0.5, 0.6, 0.6, 0.5, 0.5)]
    assert epochs == [False, False, True, True, False, False]
    assert not any(epoch(compiling(file), many, 0.5) for _ in range(4))


def test_a_machine_that_is_busy_for_a_while_changes_no_decision(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    trial, many = compiling(file), int(2 * WORTH_A_TRY_S / 0.5)
    slowed_down = [epoch(trial, many, step_s) for step_s in (0.5, 0.5, 0.6, 0.6, 0.5, 3.0, 3.0)]
    assert slowed_down == [False, False, True, True, False, False, False]
    assert not any(epoch(compiling(file), many, 3.0) for _ in range(4))
    repays = known(tmp_path / "repays.json", plain_s=0.5, compiled_s=0.2, compile_s=30)
    assert all(epoch(compiling(repays), many, step_s) for step_s in (3.0, 3.0, 3.0))


def test_a_short_trial_never_tries(tmp_path: Path) -> None:
    trial = compiling(tmp_path / "times.json")
    few = int(0.5 * WORTH_A_TRY_S / 0.5)
    assert not any(epoch(trial, few, step_s=0.5) for _ in range(6))


@pytest.mark.parametrize(("steps", "repaid"), [(99, False), (101, True)])
def test_a_kind_that_is_known_is_compiled_at_once_where_its_steps_repay_that(
    tmp_path: Path, steps: int, repaid: bool
) -> None:
    file = known(tmp_path / "times.json", plain_s=0.5, compiled_s=0.2, compile_s=30)
    assert epoch(compiling(file), steps, step_s=0.2) == repaid


def test_what_compiling_took_is_spent_and_does_not_count_against_going_on(tmp_path: Path) -> None:
    trial = compiling(known(tmp_path / "times.json", plain_s=0.5, compiled_s=0.2, compile_s=30))
    assert epoch(trial, 1000, step_s=0.2, extra_s=30)
    assert epoch(trial, 10, step_s=0.2)


def test_a_network_that_cannot_be_compiled_is_trained_without(caplog: pytest.LogCaptureFixture) -> None:
    from torch._inductor import config

    network, inputs = nn.Sequential(nn.Linear(3, 2), nn.GELU()), torch.ones(2, 3)
    forward = Forward(network, CPU)
    trial = Compiling(forward, Compilation(True), batch_size=2)
    with config.patch({"cpp.cxx": ("no-compiler-of-this-name",), "force_disable_caches": True}):
        trial.before_epoch(10)
        assert torch.equal(forward(inputs), network(inputs))
    assert "cannot be compiled" in caplog.text
    trial.before_epoch(5)
    assert not forward.compiled


@pytest.mark.slow
def test_a_compiled_trial_learns_the_same(tmp_path: Path) -> None:
    """The last batch of an epoch has 12 images of 16, and goes the plain way. (Adam makes steps of rounding errors.)"""
    spec = spec_of(epochs=3, optimizer={"name": "sgd", "lr": 0.05})
    (plain, before), (compiled, after) = (
        run(spec, tmp_path / str(wish), compilation=Compilation(wish)) for wish in (False, True)
    )
    assert compiled.compiled
    assert not plain.compiled
    for expected, found in zip(comparable(before), comparable(after), strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("device", "batch_size", "image_size", "at_once"),
    [("cpu", 64, 32, 64), ("cuda", 64, 32, 256), ("cuda", 256, 224, 445), ("cuda", 512, 224, 512), ("mps", 1, 8, 4)],
)
def test_an_accelerator_evaluates_more_images_at_once_than_it_trains(
    device: str, batch_size: int, image_size: int, at_once: int
) -> None:
    assert evaluation_batch(batch_size, image_size, torch.device(device)) == at_once


def test_a_network_with_convolutions_that_a_processor_gets_wrong_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.Flatten())
    for capability, compiled in (("AVX512", True), ("AVX2", False)):
        slow = capability == "AVX2"
        monkeypatch.setattr("sweeper.training.convolution._has_slow_weight_gradients", lambda slow=slow: slow)
        trial = Compiling(Forward(network, CPU), Compilation(True, None), 4)
        trial.before_epoch(10)
        assert trial.forward.compiled is compiled
    assert caplog.text.count("is not compiled") == 1


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, [True, True, True]),
        ({"unfreezing": {"head_epochs": 1}}, [False, True, True]),
        ({"progressive_resizing": 0.5, "image_size": 64}, [False, False, True]),
    ],
)
def test_only_epochs_in_which_all_learns_from_whole_images_tell_what_a_step_takes(
    changes: dict[str, Any], whole: list[bool]
) -> None:
    spec = spec_of(3, **changes)
    learner = build_learner(spec, colored(), CPU)
    found = []
    for number in (1, 2, 3):
        learner.before_epoch(number)
        found.append(learner.has_whole_work(number))
    assert found == whole


@pytest.mark.parametrize(("whole", "last", "recorded"), [(10, 1, {16}), (10, 2, {16}), (1, 1, {16, 4}), (0, 1, {4})])
def test_the_last_batch_of_an_epoch_gets_no_graph_beside_many_whole_ones(
    whole: int, last: int, recorded: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(Recorder, "_record", lambda _, shape, batch: sizes.append(len(batch.labels)))
    recorder = Recorder(lambda batch: batch.labels, CPU, warm_up=8)
    for _ in range(20):
        for size in [16] * whole + [4] * last:
            recorder(Batch(torch.zeros(size, 3, 8, 8), torch.zeros(size)), lambda batch: batch.labels)
    assert set(sizes) == recorded


def test_what_was_recorded_is_forgotten_when_images_grow_and_dropped_when_memory_is_short() -> None:
    learner = build_learner(spec_of(3, progressive_resizing=0.5, image_size=64), colored(), CPU)
    learner.before_epoch(1)
    steps = learner.steps(CPU)
    recorder = Recorder(lambda batch: batch.labels, CPU, warm_up=8)
    steps._recorder = recorder
    for number in (2, 3):
        recorder._graphs[()] = None  # type: ignore[assignment] # there is no GPU to record one
        learner.before_epoch(number)
        grows = learner.inputs.training_size(number) != learner.inputs.training_size(number - 1)
        assert learner.recorded is not grows
    recorder._graphs[()] = None  # type: ignore[assignment]
    assert make_room(CPU)
    assert not learner.recorded
    assert recorder._cannot
    alive = weakref.ref(steps)
    learner.close()
    del steps
    gc.collect()
    assert alive() is None, "a trial that has ended keeps nothing"


@pytest.mark.parametrize("name", ["levit_128s", "test_resnet"])
def test_a_network_with_a_frozen_part_that_keeps_tensors_aside_is_not_recorded(name: str) -> None:
    """Its graph would read memory that belongs to others by then; such attention fills its cache in evaluation mode."""
    network = timm.create_model(name, num_classes=0)
    assert not keeps_tensors_aside(network.train())
    network.eval()(torch.zeros(2, 3, 224, 224))
    known = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    inner = [value for module in network.modules() for value in vars(module).values() if isinstance(value, dict)]
    aside = [tensor for each in inner for tensor in each.values() if isinstance(tensor, torch.Tensor)]
    assert keeps_tensors_aside(network) == any(id(tensor) not in known for tensor in aside) == (name == "levit_128s")

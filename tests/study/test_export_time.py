"""How long an export is expected to take: by its images and its networks, while the driver waits for nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.modeling.forward_time import forward_seconds
from sweeper.results import TrialSpec
from sweeper.study.export_time import WRITING_S, TimedExport
from tests.training.learnable import square_images

AUTOENCODER = Path(__file__).parents[2] / "models" / "cifar10_autoencoder.py"
RECONSTRUCTION = ReconstructionConfig(name="reconstruction")


def spec(size: int = 32, backbone: str = "resnet10t") -> TrialSpec:
    return TrialSpec(number=0, seed=0, epochs=1, config=TrialConfig(backbone=backbone, image_size=size))


def expected(export_time: TimedExport) -> float:
    deadline = time.monotonic() + 120
    while (seconds := export_time.seconds()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return seconds


def test_larger_images_take_a_network_longer() -> None:
    assert 0 < 2 * forward_seconds(spec(32), 3, ()) < forward_seconds(spec(224), 3, ())


def test_one_thread_is_timed_and_all_are_there_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return images

    seen: list[int] = []
    monkeypatch.setattr("sweeper.modeling.forward_time._built", lambda spec, classes: Counting())
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        forward_seconds(spec(8), 3, ())
        assert (set(seen), torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


def test_an_autoencoder_is_timed_too() -> None:
    autoencoder = spec(backbone="cifar10_autoencoder").model_copy(update={"task": RECONSTRUCTION})
    assert forward_seconds(autoencoder, 3, [AUTOENCODER]) > 0


def test_an_export_goes_over_the_validation_images_and_each_kind_of_network_is_timed_once() -> None:
    space = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "resnet10t"}}
    images = square_images(np.arange(1010) % 3, 10, 3, 8)
    export_time = TimedExport.of(SweepConfig.model_validate(space), images, Path())
    assert (export_time.classes, export_time.images) == (3, 1000)
    assert export_time.seconds() is None
    export_time.begun(spec())
    small = expected(export_time)
    assert small > WRITING_S
    export_time.begun(spec())
    assert export_time.seconds() == small
    export_time.begun(spec(224))
    export_time.complete(spec())
    assert export_time.seconds() == small, "a network of which no trial is complete is not exported"
    few = TimedExport(3, 1)
    few.begun(spec())
    assert expected(few) < small


def test_a_network_that_cannot_be_run_is_left_to_its_trial() -> None:
    export_time = TimedExport(3, 1000)
    export_time.begun(spec(backbone="resnet19"))
    assert expected(export_time) == WRITING_S
    export_time.begun(spec())
    export_time.complete(spec())
    assert expected(export_time) > WRITING_S


def test_a_driver_that_expects_an_export_needs_no_torch() -> None:
    asks = "import sys, sweeper.study.run; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", asks], check=True)

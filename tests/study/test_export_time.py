"""How long an export is expected to take: by its images, its network and its device, without a trace of the asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.results import TrialSpec
from sweeper.study.export_time import WRITING_S, TimedExport
from tests.training.learnable import square_images

AUTOENCODER = Path(__file__).parents[2] / "models" / "cifar10_autoencoder.py"


def export_time(val: int) -> TimedExport:
    images = square_images(np.arange(10 + val) % 3, 10, 3, 8)
    space = {"study": "s", "dataset": {"builtin": "digits"}, "device": "cpu"} | {
        "model_files": [str(AUTOENCODER)],
        "search": {"backbone": "resnet18"},
    }
    return TimedExport(SweepConfig.model_validate(space), images, Path())


def spec(size: int = 32, backbone: str = "resnet18", **others: object) -> TrialSpec:
    return TrialSpec(number=0, seed=0, epochs=1, config=TrialConfig(backbone=backbone, image_size=size), **others)


def test_more_images_and_larger_ones_take_longer() -> None:
    few, many = export_time(10), export_time(1000)
    assert WRITING_S < few(spec()) < many(spec())
    assert many(spec(224)) - WRITING_S > 2 * (many(spec(32)) - WRITING_S)


def test_a_kind_of_network_is_timed_once() -> None:
    known = export_time(1000)
    assert known(spec()) == known(spec())


def test_an_autoencoder_is_timed_too() -> None:
    task = ReconstructionConfig(name="reconstruction")
    assert export_time(100)(spec(backbone="cifar10_autoencoder", task=task)) > WRITING_S


def test_a_network_that_cannot_be_built_is_left_to_its_trial(caplog: pytest.LogCaptureFixture) -> None:
    assert export_time(100)(spec(backbone="resnet19")) == WRITING_S
    assert "resnet19" in caplog.text


def test_the_random_numbers_of_the_process_are_left_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    export_time(10)(spec())
    assert torch.equal(torch.rand(3), wanted)

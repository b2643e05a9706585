"""What a device is good for, found without asking a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.errors import DeviceError
from sweeper.training.device import TAKING_TURNS, device_of_study, open_device, useful_at_once


def test_trials_that_take_turns_on_a_gpu_are_few_unless_mps_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert useful_at_once(torch.device("cuda", 0)) == TAKING_TURNS
    (tmp_path / "control").touch()
    assert useful_at_once(torch.device("cuda", 0)) is None


@pytest.mark.parametrize("name", ["meta", "cpu:0", "cuda:x", "", "cuda:99", "m"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(DeviceError, match=r"use auto"):
        open_device(name, 0)


def test_the_device_of_a_study_that_is_not_here_is_replaced_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert device_of_study("cpu") == torch.device("cpu")
    assert not caplog.records
    assert device_of_study("cuda:99") == open_device("auto", 0)
    assert "this machine does not have the device of the study, cuda:99" in caplog.text


def test_memory_alone_limits_the_trials_on_a_cpu() -> None:
    assert useful_at_once(torch.device("cpu")) is None

"""What a device is good for, found without asking a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.errors import DeviceError
from sweeper.training import device as device_module
from sweeper.training.device import (
    TAKING_TURNS,
    arithmetic,
    autocast,
    borrowed_device,
    computing_in,
    device_of_study,
    kind_of,
    open_device,
    useful_at_once,
)

CPU = torch.device("cpu")


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
    assert device_of_study("cpu", "auto") == torch.device("cpu")
    assert not caplog.records
    assert device_of_study("cuda:99", "auto") == open_device("auto", 0)
    assert "this machine does not have the device of the study, cuda:99" in caplog.text


def test_memory_alone_limits_the_trials_on_a_cpu() -> None:
    assert useful_at_once(torch.device("cpu")) is None


@pytest.mark.parametrize("native", [True, False, None])
def test_a_cpu_computes_in_bfloat16_when_asked_and_only_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, native: bool | None
) -> None:
    monkeypatch.setattr(device_module, "computes_bfloat16", lambda: native)
    device_module._computes_bfloat16.cache_clear()
    assert open_device("cpu", 0) == CPU
    assert arithmetic(CPU) == "float32"
    assert kind_of(CPU) == "cpu"
    assert not caplog.records
    assert device_of_study("cpu", "bfloat16") == CPU
    assert arithmetic(CPU) == "bfloat16"
    assert kind_of(CPU) == "cpu bfloat16"
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    assert ("emulates it slowly" in caplog.text) is (native is False)
    open_device("cpu", 0)
    assert arithmetic(CPU) == "float32"
    device_module._computes_bfloat16.cache_clear()


def test_the_precision_of_somebody_elses_program_comes_back() -> None:
    open_device("cpu", 0, "bfloat16")
    with borrowed_device("cpu") as borrowed:
        assert arithmetic(borrowed) == "float32"
        with computing_in("bfloat16"):
            assert arithmetic(borrowed) == "bfloat16"
    assert arithmetic(CPU) == "bfloat16"

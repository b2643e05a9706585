"""What a device is good for, found without asking a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.training.device import TAKING_TURNS, useful_at_once


def test_trials_that_take_turns_on_a_gpu_are_few_unless_mps_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert useful_at_once(torch.device("cuda", 0)) == TAKING_TURNS
    (tmp_path / "control").touch()
    assert useful_at_once(torch.device("cuda", 0)) is None


def test_memory_alone_limits_the_trials_on_a_cpu() -> None:
    assert useful_at_once(torch.device("cpu")) is None

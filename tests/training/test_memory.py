"""How memory that runs out is recognised, and what is given up for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sweeper.data.out_of_memory import is_memory
from sweeper.errors import DeviceError
from sweeper.training import device as device_module
from sweeper.training import memory
from sweeper.training.device import arithmetic, computing_in
from sweeper.training.memory import drop_when_short, make_room, may_be_memory, require_working
from sweeper.training.micro_batch import MicroBatches, Parts
from tests.training.learnable import CPU


@pytest.fixture(autouse=True)
def nothing_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_spare", [])


@pytest.mark.parametrize(("code", "for_memory"), [(2, True), (719, False), (None, False)])
def test_what_cuda_itself_refuses_is_reported_by_its_code(code: int | None, for_memory: bool) -> None:
    error = torch.AcceleratorError("CUDA error: whatever it says")
    if code is not None:
        error.error_code = code  # type: ignore[attr-defined]
    assert is_memory(error) == may_be_memory(error) == for_memory


class Keeper:
    """Keeps something for later trials."""

    def __init__(self, *kept: object) -> None:
        self.kept = list(kept)

    def drop(self) -> bool:
        had = bool(self.kept)
        self.kept.clear()
        return had


def test_what_is_kept_for_later_trials_goes_before_a_batch_is_cut() -> None:
    keeper = Keeper(object())
    drop_when_short(keeper.drop)
    seen: list[Parts] = []

    def attempt(cut: Parts) -> int:
        seen.append(cut)
        if keeper.kept:
            raise torch.OutOfMemoryError("no room")
        return len(cut)

    sizes = MicroBatches(CPU)
    assert sizes.fit("training", 8, attempt, rewind=lambda: None) == 1
    assert seen == [[slice(0, 8)]] * 2
    assert sizes.limits.training is None


def test_nothing_is_said_to_be_dropped_where_nothing_was_kept() -> None:
    keeper = Keeper()
    drop_when_short(keeper.drop)
    assert not make_room(CPU)


def test_whoever_is_gone_is_asked_for_nothing() -> None:
    drop_when_short(Keeper(object()).drop)
    assert not make_room(CPU)
    assert not memory._spare


def test_a_device_that_cannot_train_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore of it")

    require_working(CPU)
    monkeypatch.setattr(memory, "train_a_little", fails)
    with pytest.raises(DeviceError, match="cpu cannot train: its memory is full; end the process that holds it"):
        require_working(CPU)


@pytest.mark.parametrize(("major", "expected"), [(7, "float32"), (8, "bfloat16"), (9, "bfloat16")])
def test_bfloat16_is_used_where_a_gpu_has_arithmetic_for_it(
    monkeypatch: pytest.MonkeyPatch, major: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    device_module._computes_bfloat16.cache_clear()
    gpu = torch.device("cuda", 0)
    assert arithmetic(gpu) == expected
    with computing_in("float32"):
        assert arithmetic(gpu) == "float32"
    device_module._computes_bfloat16.cache_clear()

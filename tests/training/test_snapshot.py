"""What a checkpoint holds, as files of it are written."""

from __future__ import annotations

import io

import torch

from sweeper.training.snapshot import with_own_memory


def size_of(state: object) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return len(file.getvalue())


def test_a_file_of_parts_of_larger_memory_holds_those_parts_alone() -> None:
    flat = torch.arange(100_000, dtype=torch.float32)
    part = flat[:24].as_strided((2, 3, 2, 2), (12, 1, 6, 3))  # channels last
    state = {"state": {0: {"step": torch.tensor(7.0), "momentum": part}}, "groups": [{"lr": 0.1}]}
    assert size_of(state) > flat.nbytes
    owned = with_own_memory(state)
    assert size_of(owned) < flat.nbytes / 20
    assert torch.equal(owned["state"][0]["momentum"], part)
    assert owned["state"][0]["momentum"].stride() == part.stride()
    assert owned["state"][0]["step"] is state["state"][0]["step"], "what has memory of its own is not copied"  # type: ignore[index]
    assert owned["groups"] == state["groups"]

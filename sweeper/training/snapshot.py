"""What a checkpoint holds, copied off a GPU while the GPU works on."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class HostMemory:
    """Page-locked memory for the snapshots of one trial; one at a time is in use."""

    def __init__(self) -> None:
        self._flat: dict[torch.dtype, Tensor] = {}

    def snapshot(self, state: Any, device: torch.device) -> Callable[[], Any]:
        """Start to copy nested state, and return what waits for the copy and gives it.

        The copies are queued behind the work that a GPU was given before and ahead of what comes after, so that the
        state may change as soon as this returns. On another device nothing is copied: the state itself is given.
        """
        if device.type != "cuda":
            return lambda: state
        taken: Counter[torch.dtype] = Counter()
        self._make_room_for(list(_tensors(state)))

        def copied(tensor: Tensor) -> Tensor:
            start = taken[tensor.dtype]
            taken[tensor.dtype] += tensor.numel()
            place = self._flat[tensor.dtype][start : start + tensor.numel()]
            # In the same order of memory, so that one plain copy does it.
            return place.as_strided(tensor.shape, _dense_strides(tensor)).copy_(tensor, non_blocking=True)

        host = _mapped(state, copied)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(device))

        def wait() -> Any:
            done.synchronize()
            return host

        return wait

    def _make_room_for(self, tensors: list[Tensor]) -> None:
        needed: Counter[torch.dtype] = Counter()
        for tensor in tensors:
            needed[tensor.dtype] += tensor.numel()
        for kind, count in needed.items():
            if kind not in self._flat or len(self._flat[kind]) < count:
                self._flat[kind] = torch.empty(count, dtype=kind, pin_memory=True)


def with_own_memory(state: Any) -> Any:
    """Return nested state whose tensors have memory of their own: a file of a part would hold all it is a part of."""

    def own(tensor: Tensor) -> Tensor:
        return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor

    return _mapped(state, own)


def _dense_strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides of a copy without gaps, in the order of memory that the tensor has."""
    return torch.empty_like(tensor, device="meta").stride()


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)


def _mapped(state: Any, copied: Callable[[Tensor], Tensor]) -> Any:
    """Return nested dicts, lists and tuples with every tensor copied; other values must not change in place."""
    if isinstance(state, Tensor):
        return copied(state)
    if isinstance(state, dict):
        made = copy.copy(state)  # with what a state dict says of its modules' versions
        made.update({key: _mapped(value, copied) for key, value in state.items()})
        return made
    if isinstance(state, list | tuple):
        return type(state)(_mapped(value, copied) for value in state)
    return state

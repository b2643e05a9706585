"""Small arrays on their way from the host to a device, without either waiting for the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array on a device; on the CPU the result shares the array's memory.

    To a GPU the copy is only started, from page-locked memory: out of any other memory CUDA copies while the host
    waits. What uses the result on the same stream comes after the copy.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

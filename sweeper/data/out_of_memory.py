"""How running out of memory is recognised."""

from __future__ import annotations

import torch

CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def is_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out.

    CUDA's allocator raises a class of its own; Python and NumPy raise MemoryError. What CUDA itself refuses, for a
    context, a stream or a kernel, is an AcceleratorError with CUDA's code for it.
    """
    if isinstance(error, torch.AcceleratorError):
        return getattr(error, "error_code", None) == CUDA_OUT_OF_MEMORY
    return isinstance(error, torch.OutOfMemoryError | MemoryError)

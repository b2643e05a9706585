"""Where the pixels or features of a split live: resident on the device, or streamed to it batch by batch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sweeper.allowance import available_bytes
from sweeper.data.decode import Pixels
from sweeper.data.feature_cache import Features
from sweeper.data.out_of_memory import is_memory
from sweeper.data.splitting import Rows
from sweeper.data.transfer import to_device

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.4
"""Share of the device's free memory that images may take; the rest is for the training."""

AHEAD = 2
"""Batches that are read before they are asked for."""

PIECE = 4096
"""Samples that are copied to a device at once."""


Samples = Pixels | Features


class SampleReader(Protocol):
    """Hands out the images of a split, or their features."""

    def take(self, batches: Sequence[Rows]) -> Iterator[Tensor]:
        """Yield uint8 [B, S, S, 3], or float32 [B, D], on the device for each batch of positions in the split."""
        ...


def place_samples(samples: Samples, rows: Rows, device: torch.device, *, resident: bool | None = None) -> SampleReader:
    """Place rows of images [N, S, S, 3] or features [N, D] on a device, resident where they fit or as asked.

    What others take of its memory meanwhile may be missing: then they are streamed all the same.
    """
    if resident is None:
        resident = len(rows) * samples[0].nbytes <= _free_bytes(device)
    if not resident:
        return StreamedSamples(samples, rows, device)
    if device.type == "cpu":
        return MappedSamples(samples, rows)
    try:
        return ResidentSamples(samples, rows, device)
    except (RuntimeError, MemoryError) as error:
        if not is_memory(error):
            raise
        logger.warning("%d samples do not fit on %s and are streamed to it: %s", len(rows), device, error)
        return StreamedSamples(samples, rows, device)


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    available = available_bytes()
    return available if device.type == "cpu" else RESIDENT_SHARE * available


class ResidentSamples:
    """A copy on the device."""

    def __init__(self, samples: Samples, rows: Rows, device: torch.device) -> None:
        kind = torch.from_numpy(samples[:0]).dtype
        self._samples = torch.empty((len(rows), *samples.shape[1:]), dtype=kind, device=device)
        for start in range(0, len(rows), PIECE):  # in pieces, to need no second copy on the host
            part = slice(start, start + PIECE)
            self._samples[part].copy_(to_device(samples[rows[part]], device))

    def take(self, batches: Sequence[Rows]) -> Iterator[Tensor]:
        positions = to_device(np.concatenate(batches), self._samples.device)
        for batch in torch.split(positions, [len(batch) for batch in batches]):
            yield self._samples.index_select(0, batch)


class MappedSamples:
    """The memory map itself, for the CPU: the kernel keeps one copy for all workers."""

    def __init__(self, samples: Samples, rows: Rows) -> None:
        self._samples = torch.from_numpy(samples)
        self._rows = torch.from_numpy(rows)

    def take(self, batches: Sequence[Rows]) -> Iterator[Tensor]:
        for batch in batches:
            yield self.read(batch)

    def read(self, batch: Rows, out: Tensor | None = None) -> Tensor:
        return torch.index_select(self._samples, 0, self._rows[torch.from_numpy(batch)], out=out)


class StreamedSamples:
    """The memory map, read by a thread of its own a few batches ahead."""

    def __init__(self, samples: Samples, rows: Rows, device: torch.device) -> None:
        self._mapped = MappedSamples(samples, rows)
        self._row = torch.from_numpy(samples[:0])
        self._device = device

    def take(self, batches: Sequence[Rows]) -> Iterator[Tensor]:
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            for batch in batches:
                waiting.append(reader.submit(self._read, batch))
                if len(waiting) > AHEAD:
                    yield self._send(waiting.popleft().result())
            while waiting:
                yield self._send(waiting.popleft().result())

    def _read(self, batch: Rows) -> Tensor:
        # torch keeps pinned buffers for reuse, and none before the copy out of it has ended
        pinned = self._device.type == "cuda"
        buffer = torch.empty((len(batch), *self._row.shape[1:]), dtype=self._row.dtype, pin_memory=pinned)
        return self._mapped.read(batch, out=buffer)

    def _send(self, samples: Tensor) -> Tensor:
        return samples.to(self._device, non_blocking=True)

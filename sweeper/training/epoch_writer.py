"""Writes what an epoch leaves and reports it: at once on a CPU, beside the next epoch's training on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import torch

from sweeper.training.device import make_current


class EpochWriter:
    """Does one piece of work at a time, in the order given; each answers whether the trial is pruned.

    A GPU would stand idle while a checkpoint goes to disk and the driver answers, so that there a thread does it. The
    training that goes on meanwhile is thrown away where the answer is to prune.
    """

    def __init__(self, device: torch.device) -> None:
        self._thread = ThreadPoolExecutor(1, "epoch-writer", make_current, (device,)) if device.type == "cuda" else None
        self._waiting: Future[bool] | None = None
        self._pruned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def submit(self, work: Callable[[], bool]) -> None:
        """Do a piece of work, after the one before it, or start to."""
        self.wait()
        if self._thread is None:
            self._pruned = work()
        else:
            self._waiting = self._thread.submit(work)

    @property
    def pruned(self) -> bool:
        """Whether the trial is known to be pruned. Raises what the work raised."""
        return self.wait() if self._waiting is not None and self._waiting.done() else self._pruned

    def wait(self) -> bool:
        """Wait for the work that was given, and return whether the trial is pruned. Raises what the work raised."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._pruned = waiting.result()
        return self._pruned

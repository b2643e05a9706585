"""Batches that do not fit in memory go through the network in parts; the optimizer sees the batch all the same.

What does not fit is found out by trying: the part is halved and the same step is made again, from
the same images and the same random numbers.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper.config.frozen import Frozen
from sweeper.data.out_of_memory import is_memory
from sweeper.errors import DoesNotFit, RankLost
from sweeper.files import file_lock, write_whole
from sweeper.safeguards.quantity import quantity
from sweeper.training.memory import (
    free_memory,
    make_room,
    may_be_memory,
    still_works,
    was_refused_memory,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Phase = Literal["training", "evaluation"]
Parts = list[slice]


class Limits(Frozen):
    """The most images that go through the network at once; None where no limit has been met."""

    training: PositiveInt | None = None
    evaluation: PositiveInt | None = None

    def lowered(self, phase: Phase, limit: int) -> Limits:
        return self.model_copy(update={phase: limit})

    def quartered(self, batch_size: int, smallest: int, times: int) -> Limits:
        """Return limits that are quartered this many times."""
        if not times:
            return self
        quarter = {
            phase: max(smallest, min(batch_size, getattr(self, phase) or batch_size) >> 2 * times)
            for phase in ("training", "evaluation")
        }
        return Limits.model_validate(quarter)

    def with_those_of(self, other: Limits) -> Limits:
        """Return the lower of both."""
        return Limits(
            training=min((limit for limit in (self.training, other.training) if limit), default=None),
            evaluation=min((limit for limit in (self.evaluation, other.evaluation) if limit), default=None),
        )


@dataclass
class MicroBatches:
    """Cuts the batches of one trial into parts that fit, ever smaller ones as memory runs out."""

    device: torch.device
    smallest: int = 1
    limits: Limits = field(default_factory=Limits)
    kills: int = 0  # of the trial's worker, for memory, that these limits take into account
    memory_was_refused: bool = False
    in_step: bool = False
    """Other ranks wait for this one within a forward pass, so that it cannot repeat one alone."""

    def size(self, batch_size: int) -> int:
        """Return how many images of a training batch go through the network at once."""
        return min(batch_size, max(self.smallest, self.limits.training or batch_size))

    def fit(self, phase: Phase, count: int, attempt: Callable[[Parts], T], rewind: Callable[[], None]) -> T:
        """Return what `attempt` makes of `count` images, cut into parts that fit.

        `rewind` undoes what a failed attempt has changed. Raises DoesNotFit when the smallest parts
        do not fit either or this process can do no more, RankLost for memory where ranks are in step, and the
        attempt's own error when that is not for memory.
        """
        smallest = self.smallest if phase == "training" else 1
        self.memory_was_refused = False  # to an earlier batch: that says nothing of what fails with this one
        while True:
            limit = getattr(self.limits, phase) or count
            cut = parts(count, limit, smallest)
            try:
                return attempt(cut)
            except Exception as error:
                if not may_be_memory(error):
                    raise
                if self.in_step and phase == "training":
                    if not is_memory(error):
                        raise
                    what = f"{quantity(_largest(cut), 'image')} at once: more memory than there is"
                    raise RankLost(what, for_memory=True) from error
                traceback.clear_frames(error.__traceback__)  # they hold the activations
                if make_room(self.device):
                    rewind()
                    continue  # the same once more, with the memory of what was kept for later trials
                self._ask_whether_refused(error, lambda cut=cut: attempt(cut), rewind)  # type: ignore[misc]
                smaller = _smaller(cut, count, smallest)
                if self.memory_was_refused and (smaller is None or not still_works(self.device)):
                    raise DoesNotFit(
                        f"{phase} with {quantity(_largest(cut), 'image')} at once takes more than there is"
                    ) from error
                if smaller is None:
                    raise
                logger.warning("%s: %d images at once failed (%s), trying %d", phase, _largest(cut), error, smaller)
            rewind()
            self.limits = self.limits.lowered(phase, smaller)

    def _ask_whether_refused(self, error: Exception, again: Callable[[], object], rewind: Callable[[], None]) -> None:
        """Note whether an attempt failed for memory."""
        if not self.memory_was_refused:
            rewind()
            self.memory_was_refused = is_memory(error) or was_refused_memory(again)
            free_memory(self.device)

    def state_dict(self) -> dict[str, Any]:
        return {**self.limits.model_dump(), "kills": self.kills}

    def load_state_dict(self, state: dict[str, Any], batch_size: int) -> None:
        """Go on with the limits of a checkpoint, quartered for every kill since; each kill cost a worker."""
        limits = Limits(training=state["training"], evaluation=state["evaluation"])
        self.limits = limits.quartered(batch_size, self.smallest, self.kills - state["kills"])


def parts(count: int, limit: int, smallest: int) -> Parts:
    """Cut this many images into parts of at most `limit`, equal to within one image.

    None is smaller than `smallest` unless all of them together are: rather one part is larger than
    the limit. Of 5 images in parts of 2, where one alone is too few, the second part has 3.
    """
    number = max(1, min(-(-count // limit), count // smallest))
    bounds = [count * part // number for part in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def _smaller(cut: Parts, count: int, smallest: int) -> int | None:
    """Return half the size of the largest part, or None where that gives no smaller parts."""
    half = max(_largest(cut) // 2, smallest)
    return half if _largest(parts(count, half, smallest)) < _largest(cut) else None


def _largest(cut: Sequence[slice]) -> int:
    sizes: list[int] = [part.stop - part.start for part in cut]
    return max(sizes)


def smallest_part(model: nn.Module) -> int:
    """Return how many images a network in training mode needs at once.

    Two where batch normalisation learns: the statistics of a single image say nothing of a batch,
    and after pooling they cannot be computed at all.
    """
    return 2 if any(isinstance(module, _BatchNorm) and module.training for module in model.modules()) else 1


def recall_limits(file: Path | None) -> Limits:
    """Return the limits that earlier trials have met."""
    try:
        return Limits.model_validate_json(file.read_bytes()) if file is not None and file.exists() else Limits()
    except ValueError:  # damaged: they are learned again
        return Limits()


def remember_limits(file: Path, limits: Limits) -> None:
    """Keep limits for later trials; of those of several workers the lowest."""
    if limits == Limits():
        return
    with file_lock(file.with_suffix(".lock"), blocking=True):
        known = recall_limits(file)
        lowest = known.with_those_of(limits)
        if lowest != known:
            write_whole(file, lowest.model_dump_json())

"""In which order and batches an epoch takes the training images, and how often those of each class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sweeper.data.splitting import Rows

Shares = npt.NDArray[np.float64]


def class_shares(counts: Rows, sampling: float) -> Shares:
    """Return the share, [C], of an epoch that each class has, of the images it has, [C].

    A class of n images weighs n^(1 - sampling): with 0 each image comes once, with 1 every class as
    often. A class without images has no share.
    """
    weights: Shares = np.where(counts > 0, np.maximum(counts, 1) ** (1.0 - sampling), 0.0)
    shares: Shares = weights / weights.sum()
    return shares


def epoch_order(labels: Rows, sampling: float, rng: np.random.Generator) -> Rows:
    """Draw the positions, [N], of an epoch's images in the split; as many as it has, whatever the sampling.

    Within a class no image comes again before all others of it have come as often.
    """
    if not sampling:
        return rng.permutation(len(labels))
    counts = np.bincount(labels)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    draws = whole_draws(class_shares(counts, sampling), len(labels), rng)
    drawn = [_in_turn(rows, count, rng) for rows, count in zip(members, draws.tolist(), strict=True) if count]
    return rng.permutation(np.concatenate(drawn))


def training_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Return where each training batch starts and ends.

    Images left over that are fewer than half a batch share equally with the batch before. A batch of a few
    images would take a step as long as that of a whole one, in a direction that is chance, and its batch statistics
    are chance too. With batches of 2 a single image joins the last one, since batch normalisation cannot learn from it.
    """
    starts = list(range(0, count, batch_size))
    left_over = count % batch_size
    if len(starts) > 1 and (batch_size, left_over) == (2, 1):
        starts.pop()
    elif len(starts) > 1 and 0 < 2 * left_over < batch_size:
        starts[-1] = (starts[-2] + count) // 2
    return list(zip(starts, [*starts[1:], count], strict=True))


def whole_draws(shares: Shares, count: int, rng: np.random.Generator) -> Rows:
    """Round each class's part of `count` draws down or up, by chance, so that the mean over epochs is exact."""
    ends = np.minimum(np.cumsum(shares) * count, count)
    ends[-1] = count  # but for rounding
    bounds = np.floor(ends + rng.random()).astype(np.int64)
    drawn: Rows = bounds - np.concatenate([[0], bounds[:-1]])
    return drawn


def _in_turn(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    rounds = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]

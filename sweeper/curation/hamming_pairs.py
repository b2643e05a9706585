"""All pairs of 64-bit hashes that differ in few bits: exact, without comparing each with each.

Hashes that differ in at most d bits differ in at most d // 4 bits in one of their four 16-bit quarters. So for
each quarter the hashes are sorted by it, and each looks up the values of that quarter within d // 4 bits of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]

QUARTERS = 4
QUARTER_BITS = 16
CANDIDATES_AT_ONCE = 4_000_000  # 100 MB or so


def near_pairs(hashes: Hashes, queries: Hashes, most_bits: int) -> Iterator[Pairs]:
    """Yield the pairs (query, hash), int64 [P, 2], that differ in at most `most_bits`, a bounded number at once.

    A pair may come up to four times.

    Args:
        hashes: [N], best without repetitions: equal hashes make all their pairs.
        queries: [Q].
        most_bits: Below 16.
    """
    for quarter in range(QUARTERS):
        for left, right in _candidates(hashes, queries, quarter, most_bits // QUARTERS):
            near = np.bitwise_count(queries[left] ^ hashes[right]) <= most_bits
            yield np.stack([left[near], right[near]], axis=1)


def _candidates(hashes: Hashes, queries: Hashes, quarter: int, radius: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield rows of queries and hashes whose quarter differs in at most `radius` bits, a bounded number at once."""
    own, wanted = _quarter(hashes, quarter), _quarter(queries, quarter)
    order = np.argsort(own, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=1 << QUARTER_BITS))])
    for change in _changes(radius):
        starts, counts = ends[wanted ^ change], ends[(wanted ^ change) + 1] - ends[wanted ^ change]
        for rows in _portions(counts):
            total = counts[rows]
            left = np.repeat(np.arange(rows.start, rows.stop), total)
            within = np.arange(len(left)) - np.repeat(np.cumsum(total) - total, total)
            yield left, order[np.repeat(starts[rows], total) + within]


def _quarter(hashes: Hashes, quarter: int) -> npt.NDArray[np.int64]:
    return ((hashes >> np.uint64(QUARTER_BITS * quarter)) & np.uint64((1 << QUARTER_BITS) - 1)).astype(np.int64)


def _changes(radius: int) -> list[int]:
    """Return every 16-bit mask with at most this many bits set."""
    bits = [1 << bit for bit in range(QUARTER_BITS)]
    return [sum(chosen) for count in range(radius + 1) for chosen in combinations(bits, count)]


def _portions(counts: Pairs) -> Iterator[slice]:
    """Cut rows into slices with a bounded number of candidates each, or a single row."""
    sums = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < len(counts):
        stop = int(np.searchsorted(sums, sums[start] + CANDIDATES_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), len(counts))
        yield slice(start, stop)
        start = stop

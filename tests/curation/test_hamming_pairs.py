from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.curation import hamming_pairs
from sweeper.curation.hamming_pairs import near_pairs

HASH = st.integers(0, 2**64 - 1)


def by_brute_force(hashes: np.ndarray, queries: np.ndarray, most_bits: int) -> set[tuple[int, int]]:
    distances = np.bitwise_count(queries[:, None] ^ hashes[None, :])
    return {(first, second) for first, second in np.argwhere(distances <= most_bits).tolist()}


@settings(max_examples=50)
@given(
    base=st.lists(HASH, min_size=1, max_size=20),
    changes=st.lists(st.tuples(st.integers(0, 19), st.lists(st.integers(0, 63), max_size=10)), max_size=20),
    most_bits=st.integers(0, 11),
    at_once=st.sampled_from([1, 7, 1000]),
)
def test_the_pairs_are_those_that_comparing_each_with_each_gives(
    base: list[int], changes: list[tuple[int, list[int]]], most_bits: int, at_once: int
) -> None:
    """Queries are hashes with some bits flipped."""
    hashes = np.array(base, dtype=np.uint64)
    flipped = [base[place % len(base)] ^ sum({1 << bit for bit in bits}) for place, bits in changes]
    queries = np.array(flipped + base[:3], dtype=np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming_pairs, "CANDIDATES_AT_ONCE", at_once)
        found = np.concatenate([np.empty((0, 2), np.int64), *near_pairs(hashes, queries, most_bits)])
    assert set(map(tuple, found.tolist())) == by_brute_force(hashes, queries, most_bits)


def test_a_hundred_thousand_hashes_take_no_quadratic_time() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    twins = hashes[:50] ^ np.uint64(0b1011)
    found = np.concatenate(list(near_pairs(np.concatenate([hashes, twins]), twins, 7)))
    assert {(place, place) for place in range(50)} <= set(map(tuple, found.tolist()))

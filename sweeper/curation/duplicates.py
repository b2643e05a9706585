"""Groups of images that are copies of each other: the same bytes, the same pixels, or nearly the same look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeper.curation.file_facts import Facts
from sweeper.curation.hamming_pairs import Pairs, near_pairs
from sweeper.curation.image_list import ImageList
from sweeper.data.image_facts import MIRRORED

Kind = Literal["bytes", "pixels", "near"]

NEAR_BITS = 9
"""How many of the 63 bits of two image hashes may differ."""

SAME_LOOK = 0.95
"""Least correlation of two thumbnails for a pair of near looks to count."""

AT_ONCE = 8_192
"""Pairs whose thumbnails are compared at once."""

BLANK = 3.0
"""Standard deviation of a thumbnail's grey values below which there is nothing to recognise."""


@dataclass(frozen=True)
class Group:
    """Rows that are copies of each other, and the splits and classes they are in."""

    kind: Kind
    rows: tuple[int, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def across_splits(self) -> bool:
        return len(self.splits) > 1

    @property
    def across_classes(self) -> bool:
        return len(self.labels) > 1


class Unions:
    """Disjoint sets of rows, joined pair by pair."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def join(self, left: int, right: int) -> None:
        left, right = sorted((self.root(left), self.root(right)))
        self._parent[right] = left

    def groups(self) -> list[list[int]]:
        members: dict[int, list[int]] = defaultdict(list)
        for row in range(len(self._parent)):
            members[self.root(row)].append(row)
        return [rows for rows in members.values() if len(rows) > 1]


def duplicate_groups(images: ImageList, facts: Facts, most_bits: int = NEAR_BITS) -> list[Group]:
    """Return all groups of copies, those across splits or classes first, then the largest.

    Mirrored copies count as near. Pictures of a single colour are compared by their pixels only.
    """
    unions = Unions(len(images))
    _join_equal(unions, facts.pixel_digests)
    _join_near(unions, facts, most_bits)
    groups = [_group(images, facts, rows) for rows in unions.groups()]
    return sorted(groups, key=lambda group: (not group.across_splits, not group.across_classes, -len(group.rows)))


def _join_equal(unions: Unions, keys: Sequence[bytes]) -> None:
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key:
            unions.join(first.setdefault(key, row), row)


def _join_near(unions: Unions, facts: Facts, most_bits: int) -> None:
    """Join rows that look nearly the same, as they are or with one of them mirrored."""
    rows = _different_pictures(facts)
    looks = facts.looks[rows]
    for mirror in (False, True):
        for pairs in near_pairs(looks, looks ^ np.uint64(MIRRORED) if mirror else looks, most_bits):
            _join_alike(unions, facts, rows[pairs[pairs[:, 0] < pairs[:, 1]]], mirror=mirror)


def _join_alike(unions: Unions, facts: Facts, pairs: Pairs, *, mirror: bool) -> None:
    """Join the pairs of rows, [P, 2], whose thumbnails are correlated.

    Thousands of pictures of one scene make millions of pairs; pairs that are joined already are not compared.
    """
    for start in range(0, len(pairs), AT_ONCE):
        part = pairs[start : start + AT_ONCE]
        rows, places = np.unique(part, return_inverse=True)
        roots = np.array([unions.root(row) for row in rows.tolist()])[places.reshape(part.shape)]
        part = part[roots[:, 0] != roots[:, 1]]
        for left, right in part[_same_look(facts.thumbnails, part, mirror=mirror)].tolist():
            unions.join(left, right)


def _different_pictures(facts: Facts) -> Pairs:
    """Return one row for each set of pixels that shows something."""
    first = {digest: row for row, digest in reversed(list(enumerate(facts.pixel_digests))) if digest}
    rows = np.array(sorted(first.values()), dtype=np.int64)
    contrast = facts.thumbnails[rows].std(axis=(1, 2)) if rows.size else np.empty(0)
    return rows[contrast >= BLANK]


def _same_look(
    thumbnails: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], pairs: Pairs, *, mirror: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which pairs of rows have correlated thumbnails."""
    left, right = (thumbnails[pairs[:, side]].astype(np.float32) for side in (0, 1))
    correlation = (_standardised(left) * _standardised(right[:, :, ::-1] if mirror else right)).mean(axis=(1, 2))
    return np.asarray(correlation >= SAME_LOOK)


def _standardised(
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / centred.std(axis=(1, 2), keepdims=True), dtype=np.float32)


def _group(images: ImageList, facts: Facts, rows: Sequence[int]) -> Group:
    kind: Kind = "near"
    if len({facts.pixel_digests[row] for row in rows}) == 1:
        kind = "bytes" if len({facts.file_digests[row] for row in rows}) == 1 else "pixels"
    splits = tuple(sorted({images.splits[row] for row in rows}))
    return Group(kind, tuple(rows), splits, tuple(sorted({images.labels[row] for row in rows})))

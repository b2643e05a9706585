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
    for left, right in _near(facts, most_bits).tolist():
        unions.join(left, right)
    groups = [_group(images, facts, rows) for rows in unions.groups()]
    return sorted(groups, key=lambda group: (not group.across_splits, not group.across_classes, -len(group.rows)))


def _join_equal(unions: Unions, keys: Sequence[bytes]) -> None:
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key:
            unions.join(first.setdefault(key, row), row)


def _near(facts: Facts, most_bits: int) -> Pairs:
    """Return pairs of rows that look nearly the same, as they are or with one of them mirrored."""
    rows = _different_pictures(facts)
    looks = facts.looks[rows]
    as_they_are = near_pairs(looks, looks, most_bits)
    as_they_are = as_they_are[as_they_are[:, 0] < as_they_are[:, 1]]
    mirrored = near_pairs(looks, looks ^ np.uint64(MIRRORED), most_bits)
    mirrored = mirrored[mirrored[:, 0] < mirrored[:, 1]]
    confirmed = [
        pairs[_same_look(facts.thumbnails, rows[pairs], mirror=mirror)]
        for pairs, mirror in ((as_they_are, False), (mirrored, True))
    ]
    return rows[np.concatenate(confirmed)]


def _different_pictures(facts: Facts) -> Pairs:
    """Return one row for each set of pixels that shows something."""
    first = {digest: row for row, digest in reversed(list(enumerate(facts.pixel_digests))) if digest}
    rows = np.array(sorted(first.values()), dtype=np.int64)
    contrast = facts.thumbnails[rows].std(axis=(1, 2)) if rows.size else np.empty(0)
    return rows[contrast >= BLANK]


def _same_look(thumbnails: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], pairs: Pairs, *, mirror: bool) -> Pairs:
    """Return which pairs of rows have correlated thumbnails, as places in `pairs`."""
    kept = [np.empty(0, np.int64)]
    for start in range(0, len(pairs), 65_536):  # in parts, so that many candidates need little memory
        part = pairs[start : start + 65_536]
        left, right = (thumbnails[part[:, side]].astype(np.float32) for side in (0, 1))
        correlation = (_standardised(left) * _standardised(right[:, :, ::-1] if mirror else right)).mean(axis=(1, 2))
        kept.append(start + np.flatnonzero(correlation >= SAME_LOOK))
    return np.concatenate(kept)


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

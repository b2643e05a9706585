"""The same image, or images of the same group, in several splits: counted, and left out of all but one where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeper.data.listing import Split
from sweeper.data.splitting import Rows, Splits

Kind = Literal["copies", "groups"]
JUDGED_BY: tuple[tuple[Split, Split], ...] = (("train", "val"), ("train", "test"), ("val", "test"))
"""Pairs of a split and the one that judges what was made with it."""
SHOWN = 3


@dataclass(frozen=True)
class Leak:
    """Images of the split `judge`, `images` of its `total`, that are also in `split`; and files of some of them."""

    kind: Kind
    split: Split
    judge: Split
    images: int
    total: int
    examples: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        what = "are copies of images in" if self.kind == "copies" else "belong to groups that are also in"
        shown = ", ".join(f"{one} and {other}" for one, other in self.examples)
        return f"{self.images:,} of {self.total:,} {self.judge} images {what} {self.split} ({shown})"


def leaks(splits: Splits, unit: Rows, kind: Kind, paths: Sequence[str]) -> tuple[Leak, ...]:
    """Count what is in several splits; `unit` [N] numbers what is the same, of all images of `paths`."""
    found = (_leak(splits, split, judge, unit, kind, paths) for split, judge in _pairs(splits))
    return tuple(leak for leak in found if leak.images)


def _pairs(splits: Splits) -> list[tuple[Split, Split]]:
    return [(split, judge) for split, judge in JUDGED_BY if split in splits and judge in splits]


def _leak(splits: Splits, split: Split, judge: Split, unit: Rows, kind: Kind, paths: Sequence[str]) -> Leak:
    judged = splits[judge][np.isin(unit[splits[judge]], unit[splits[split]])]
    examples = []
    for row in judged[:SHOWN].tolist():
        same = splits[split][unit[splits[split]] == unit[row]]
        examples.append((paths[row], paths[int(same[0])]))
    return Leak(kind, split, judge, len(judged), len(splits[judge]), tuple(examples))


def without_leaks(splits: Splits, unit: Rows) -> Splits:
    """Leave out of train what is in val or test too, and out of val what is in test."""
    left = dict(splits)
    for split, judge in _pairs(splits):
        left[split] = left[split][~np.isin(unit[left[split]], unit[splits[judge]])]
    return left

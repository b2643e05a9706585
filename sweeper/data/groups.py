"""Images that belong together, such as those of one patient: by a column or their paths; and what looks like groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.data.csv_columns import plain_name
from sweeper.data.listing import Column, Listing, enumerated
from sweeper.data.splitting import Rows
from sweeper.errors import DatasetError

GROUP_WORDS = re.compile(
    "patient|subject|person|participant|donor|individual|identity|animal|mouse|specimen|sample|case|study|series|scan|"
    "slide|session|visit|eye|tree|plant|plot|field|site|scene|sequence|video|clip|movie|track|burst|recording|vehicle|"
    "house|building|product|user|customer|author|batch|well|plate|group|cluster|family"
)
"""Words in the names of columns whose values are shared by images that are alike."""

FEWEST_GROUPS = 3
IMAGES_A_GROUP = 2.0
"""Images that a value has, on average, from which a column is thought to group them."""

PURE_GROUPS = 10
"""Values from which a column counts that is not called like a group, when each has one label only."""

FOLDER = "folder"
FOLDER_RULE = "^(.*)/"


@dataclass(frozen=True)
class Grouping:
    """What images belong together by: the names of the groups, and the number of each image's group [N].

    `column` is that of a CSV file, empty where groups come from paths by the expression `rule`.
    """

    values: tuple[str, ...]
    numbers: Rows
    column: str = ""
    rule: str = ""

    def __str__(self) -> str:
        return f"{len(self.values):,} groups by {self.column or self.rule!r}"


@dataclass(frozen=True)
class Suspicion:
    """What looks like groups and is not used as such: `crossing` of its values are in several splits or folds."""

    name: str
    values: int
    crossing: int
    key: str
    """The setting that would keep them together."""


def grouping(listing: Listing, dataset: DatasetConfig) -> Grouping | None:
    """Return the groups that a data set declares. Raises `DatasetError` where an image has none."""
    if dataset.group_column:
        return _by_column(listing, dataset.group_column)
    return _by_path(listing, dataset.group_from) if dataset.group_from else None


def _by_column(listing: Listing, name: str) -> Grouping:
    if not listing.columns:
        raise DatasetError(
            f"{listing.root}: dataset.group_column names a column of a CSV file, and these are folders; say which part "
            "of a path is the group by dataset.group_from"
        )
    named = [column for column in listing.further if column.name == name] or [
        column for column in listing.further if plain_name(column.name) == plain_name(name)
    ]
    if len(named) != 1:
        uses = [use for use, column in listing.columns.items() if plain_name(column) == plain_name(name)]
        if uses:
            raise DatasetError(
                f"{listing.files[0]}: the column {name!r} (dataset.group_column) holds the {uses[0]} of each image and "
                "cannot be its group as well; name another column"
            )
        there = ", ".join(column.name for column in listing.further) or "none"
        raise DatasetError(f"{listing.files[0]}: no column {name!r} for the groups, there are {there}; correct it")
    column = named[0]
    without = [place for place, value in enumerate(column.values) if not value]
    missing = np.flatnonzero(np.isin(column.codes, without))
    if missing.size:
        rows = [listing.paths[row] for row in missing.tolist()]
        raise DatasetError(
            f"{listing.files[0]}: every image needs a value of {column.name} (dataset.group_column), {len(rows):,} "
            f"have none:\n{enumerated(rows)}\nFill it in, with a value of its own where an image belongs to no other."
        )
    return Grouping(column.values, column.codes.astype(np.int64), column=column.name)


def _by_path(listing: Listing, rule: str) -> Grouping:
    found = [re.search(rule, path) for path in listing.paths]
    named = ["" if match is None else match[1 if match.re.groups else 0] or "" for match in found]
    odd = [path for path, name in zip(listing.paths, named, strict=True) if not name]
    if odd:
        raise DatasetError(
            f"{listing.root}: dataset.group_from, {rule!r}, names no group for {len(odd):,} of {len(found):,} paths:\n"
            f"{enumerated(odd)}\nWiden the expression."
        )
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(name, len(numbers)) for name in named]
    return Grouping(tuple(numbers), np.array(codes, dtype=np.int64), rule=rule)


def suspicions(listing: Listing, labels: Rows, parts: Sequence[Rows], used: Grouping | None) -> tuple[Suspicion, ...]:
    """Return columns and folders whose values look like groups and are in several parts, which are splits or folds."""
    if used is not None:
        return ()
    side = np.full(len(listing.paths), -1)
    for number, rows in enumerate(parts):
        side[rows] = number
    found = []
    for column, key in _candidates(listing, labels):
        crossing = _crossing(column.codes, side)
        if crossing:
            found.append(Suspicion(column.name, len(column.values), crossing, key))
    return tuple(found)


def _candidates(listing: Listing, labels: Rows) -> Iterator[tuple[Column, str]]:
    for column in listing.further:
        if _looks_like_groups(column, labels):
            yield column, f"dataset.group_column: {column.name}"
    folders = _folders_below_classes(listing)
    if folders is not None:
        yield folders, f"dataset.group_from: '{FOLDER_RULE}'"


def _looks_like_groups(column: Column, labels: Rows) -> bool:
    """Tell by a column's name and counts, or by each of its values having one label, whether it groups images."""
    groups, rows = len(column.values), len(column.codes)
    if groups < FEWEST_GROUPS or rows < IMAGES_A_GROUP * groups or "" in column.values:
        return False
    words = re.split(r"[_\W\d]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", column.name).lower())
    if any(GROUP_WORDS.fullmatch(word.removesuffix("s")) or GROUP_WORDS.fullmatch(word) for word in words):
        return True
    pairs = len(np.unique(column.codes.astype(np.int64) * (labels.max() + 1) + labels))
    several = len(np.unique(labels)) * 2
    return groups >= max(PURE_GROUPS, several) and pairs == groups and not _numbers_with_fractions(column)


def _numbers_with_fractions(column: Column) -> bool:
    return any("." in value for value in column.values)


def _folders_below_classes(listing: Listing) -> Column | None:
    """Return the folders of images, where classes have several folders in a split, with several images each."""
    if listing.columns:
        return None
    folders = [path.rpartition("/")[0] for path in listing.paths]
    names = sorted(set(folders))
    parts = set(zip(listing.split_names, listing.class_names, strict=True))
    if len(names) < 2 * len(parts) or len(folders) < IMAGES_A_GROUP * len(names):
        return None
    numbers = {name: number for number, name in enumerate(names)}
    return Column(FOLDER, tuple(names), np.array([numbers[name] for name in folders], dtype=np.int32))


def _crossing(codes: np.ndarray[tuple[int], np.dtype[np.int32]], side: Rows) -> int:
    """Count the values that are in several splits; `side` [N] numbers the split of an image, -1 for none."""
    inside = side >= 0
    pairs = np.unique(np.stack([codes[inside], side[inside]]), axis=1)
    _, splits_of = np.unique(pairs[0], return_counts=True)
    return int((splits_of > 1).sum())

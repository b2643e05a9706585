"""Class folders: train/, val/ and test/ with one folder a class, or a single tree of class folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.data.labels import plain
from sweeper.data.listing import SPLIT_NAMES, Listing, Split, enumerated, in_class_order
from sweeper.data.scan import count_images, find_files, holds_images, subfolders
from sweeper.errors import DatasetError

IN_NO_CLASS = "images in no class folder"
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@dataclass
class _Images:
    """A listing while it is being filled."""

    paths: list[str] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    split_names: list[Split | None] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add_class(self, root: Path, folder: str, name: str, split: Split | None) -> None:
        found = find_files(root / folder)
        self.paths += [f"{folder}/{path}" for path in found.images]
        self.class_names += [name] * len(found.images)
        self.split_names += [split] * len(found.images)
        self.others += found.others

    def leave_out(self, folders: Iterable[Path]) -> None:
        """Count images that lie in folders of class folders, and so in no class."""
        loose = sum(map(count_images, folders))
        if loose:
            self.others[IN_NO_CLASS] += loose

    def listing(self, root: Path, classes: tuple[str, ...]) -> Listing:
        return Listing(root, self.paths, self.class_names, self.split_names, classes, others=self.others)


def read_folders(root: Path, *, normalized: bool = False) -> Listing:
    """List the images of class folders; `normalized`: classes that look alike will be one.

    Raises `DatasetError` when there are no class folders, when two folders claim the same split, or
    when val or test holds a class that train does not.
    """
    splits = split_folders(root)
    return _read_splits(root, splits, normalized=normalized) if splits else _read_tree(root)


def split_folders(root: Path) -> dict[Split, str]:
    """Return the folder of each split, or nothing when the images come as one tree of classes.

    A folder named train that holds images directly, and no folders, is the class of trains.
    """
    named: dict[Split, list[str]] = {}
    for name in subfolders(root):
        split = SPLIT_NAMES.get(name.lower())
        if split and subfolders(root / name):
            named.setdefault(split, []).append(name)
    _refuse_two_of_a_kind(root, named)
    if named and "train" not in named:
        raise DatasetError(
            f"{root}: there is {', '.join(names[0] for names in named.values())} but no folder train with class "
            f"folders in it; add it, or name one tree of class folders, such as {root / next(iter(named.values()))[0]}"
        )
    return {split: names[0] for split, names in named.items()}


def _refuse_two_of_a_kind(root: Path, named: dict[Split, list[str]]) -> None:
    for split, names in named.items():
        if len(names) > 1:
            raise DatasetError(f"{root}: one folder may hold the {split} split, found {names}; keep one of them")


def _read_splits(root: Path, splits: dict[Split, str], *, normalized: bool) -> Listing:
    known = set(subfolders(root / splits["train"]))
    classes, plainly = set(known), {plain(name) for name in known}
    images = _Images()
    images.leave_out([root, *(root / name for name in subfolders(root) if name.lower() in SPLIT_NAMES)])
    for split, folder in splits.items():
        names = subfolders(root / folder)
        unknown = set(names) - known
        alike = {name for name in unknown if plain(name) in plainly}
        refuse_unknown_classes(
            root / folder, unknown - alike if normalized else unknown, bool(alike) and not normalized
        )
        classes |= unknown
        for name in names:
            images.add_class(root, f"{folder}/{name}", name, split)
    return images.listing(root, in_class_order(classes))


def _read_tree(root: Path) -> Listing:
    classes = in_class_order(set(subfolders(root)))
    if not classes:
        found = "images lie in it directly" if holds_images(root) else "it holds neither folders nor images"
        beside = class_folders(root.parent) if holds_images(root) else []
        advice = f"if it is one class, set dataset.path: {root.parent}; otherwise " if len(beside) > 1 else ""
        raise DatasetError(
            f"{root}: no class folders: {found}; {advice}put the images of each class into a folder of its own, "
            "or list them with their classes in a CSV file"
        )
    _refuse_splits_of_other_names(root, classes)
    images = _Images()
    images.leave_out([root])
    for name in classes:
        images.add_class(root, name, name, None)
    return images.listing(root, classes)


def _refuse_splits_of_other_names(root: Path, names: Iterable[str]) -> None:
    """Raise `DatasetError` where folders of folders are called like splits, as `seg_train` and `seg_test` are."""
    splits: dict[str, Split] = {}
    for name in names:
        said = {SPLIT_NAMES[word.lower()] for word in WORD.findall(name) if word.lower() in SPLIT_NAMES}
        if len(said) == 1 and subfolders(root / name) and not holds_images(root / name):
            splits[name] = said.pop()
    if "train" in splits.values() and len(set(splits.values())) > 1:
        advice = ", ".join(f"{name} {split}" for name, split in splits.items())
        raise DatasetError(
            f"{root}: {', '.join(splits)} hold folders and look like splits, not classes; call {advice}, "
            "with the class folders directly in them"
        )


def class_folders(root: Path) -> list[str]:
    """Return the folders within a folder that hold images directly."""
    return [name for name in subfolders(root) if holds_images(root / name)]


def refuse_another_level(listing: Listing, where: str, remedy: str = "set dataset.path:") -> None:
    """Raise `DatasetError` where one folder stands around all class folders, and name it."""
    if len(listing.classes) != 1 or listing.root.is_file():
        return
    inner = listing.root / listing.classes[0]
    while inner.is_dir() and len(inside := subfolders(inner)) == 1:
        inner = inner / inside[0]
    if inner.is_dir() and (len(class_folders(inner)) > 1 or split_folders(inner)):
        within = inner.relative_to(listing.root)
        raise DatasetError(f"{where}: the class folders are not in it but in {within}; {remedy} {inner}")


def refuse_unknown_classes(where: Path, unknown: set[str], some_look_alike: bool = False) -> None:
    """Raise `DatasetError` when a split holds classes that the training split does not."""
    if unknown:
        normalize = "\n`dataset.labels: normalize` makes those one that differ in case or blanks alone."
        raise DatasetError(
            f"{where}: every class must be in the training images, {len(unknown):,} here are not:\n"
            f"{enumerated(sorted(unknown))}\nRename them, add training images, or remove these folders."
            f"{normalize if some_look_alike else ''}"
        )

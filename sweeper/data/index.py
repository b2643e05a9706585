"""The index: every image file of a data set with its label and split, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np

from sweeper.config.dataset import DatasetConfig, Layout
from sweeper.data.copies import copies
from sweeper.data.csv_layout import SPLIT_FILES, is_csv, read_csv
from sweeper.data.digits import write_digits
from sweeper.data.exclude import excluded_rows, without
from sweeper.data.fetch import fetched, is_address
from sweeper.data.fingerprint import FileStates, file_states
from sweeper.data.folder_layout import class_folders, read_folders, refuse_another_level, split_folders
from sweeper.data.folds import Folds, check_folds, first_of, kept_of
from sweeper.data.groups import grouping
from sweeper.data.labels import merged
from sweeper.data.listing import SPLIT_NAMES, Listing, enumerated
from sweeper.data.notes import Notes
from sweeper.data.odd_labels import odd_labels
from sweeper.data.progress import Progress
from sweeper.data.scan import counted, holds_images, subfolders
from sweeper.data.splits import drawn_splits
from sweeper.data.splitting import Rows, Splits, Units, joined, limit_splits
from sweeper.data.tiny_imagenet_layout import is_tiny_imagenet, read_tiny_imagenet
from sweeper.errors import DatasetError
from sweeper.paths import Workspace

CORRECT_PATH = "correct the path (`dataset.path` in a search space)"
CORRECT_EXCLUDE = "correct dataset.exclude"


@dataclass(frozen=True)
class ImageIndex:
    """Which images there are, before any of them is decoded.

    `paths` are relative to `root`; `labels` is int64 [N], an index into `classes`; `splits` maps
    train, val and, where there is one, test to sorted row numbers. Every row is in some split. With cross-validation
    val is the first of the `folds`, and train the others. `states` are those of
    the files, `notes` what was noticed about them. `left_out` are images that are in no split, by a limit or a list,
    and `lists` the files that say which images there are.
    """

    root: Path
    paths: Sequence[str]
    labels: Rows
    classes: tuple[str, ...]
    splits: Splits
    states: FileStates
    notes: Notes = field(default_factory=Notes)
    left_out: Sequence[str] = ()
    lists: tuple[Path, ...] = ()
    folds: Folds = ()


def build_index(dataset: DatasetConfig, workspace: Workspace, progress: Progress = lambda *_: None) -> ImageIndex:
    """Find the images of a data set, split them, and apply the configured limit.

    `progress` takes how many files have been compared, of those that must be, and how many these are.

    The same files give the same index whatever the order in which the file system lists them.
    Raises `DatasetError` when the layout, the labels or the splits cannot be used.
    """
    listing = read_listing(dataset, workspace)
    where = where_from(dataset, workspace, listing)
    require_images(listing, where)
    refuse_another_level(listing, where)
    classes = listing.classes[: dataset.limit.classes]
    states = file_states(listing.root, listing.paths)
    same = copies(listing.root, listing.paths, states, workspace.cache, progress)
    labels = label_numbers(listing)
    excluded = [_named(dataset.exclude, workspace, CORRECT_EXCLUDE)] if dataset.exclude else []
    left_out = excluded_rows(listing, excluded[0]) if excluded else np.empty(0, np.int64)
    exclude = partial(without, left_out=left_out, from_splits=("train",) if dataset.folds else dataset.exclude_from)
    drawn, notes, folds = drawn_splits(listing, labels, same, dataset, exclude)
    kept = {split: rows[labels[rows] < len(classes)] for split, rows in drawn.items()}
    folds = kept_of(folds, kept["train"], labels, dataset.limit.train_images, dataset.split_seed)
    splits = first_of(folds, limit_splits(kept, labels, dataset.limit, dataset.split_seed))
    check_splits(splits, labels, classes, where=where, folds=folds)
    index = _compact(listing, labels, classes, splits, folds, states)
    return replace(index, notes=notes, lists=(*listing.files, *excluded))


def units_of(index: ImageIndex, dataset: DatasetConfig, workspace: Workspace) -> Units:
    """Return which images of an index belong together: copies of one, and groups that the data set declares."""
    same, listing = copies(index.root, index.paths, index.states, workspace.cache), read_listing(dataset, workspace)
    groups = grouping(listing, dataset)
    if groups is None:
        return Units(same)
    numbers = dict(zip(listing.paths, groups.numbers.tolist(), strict=True))
    return joined(same, np.array([numbers[path] for path in index.paths]))


def read_listing(dataset: DatasetConfig, workspace: Workspace) -> Listing:
    """Find the images of a data set, in the order of their paths, before any split is drawn. Raises `DatasetError`."""
    listing = _read(dataset, workspace).in_path_order()
    return merged(listing) if dataset.labels == "normalize" else listing


def lists_of(dataset: DatasetConfig, workspace: Workspace) -> tuple[Path, ...]:
    """Return the lists that a data set is read from, as far as they are there, without reading them."""
    named = [_named(name, workspace) for name in (dataset.path, dataset.exclude) if name]
    within = [path / name for path in named for name in SPLIT_FILES]
    return tuple(path for path in (*named, *within) if path.is_file())


def where_from(dataset: DatasetConfig, workspace: Workspace, listing: Listing) -> str:
    """Return what messages call a data set."""
    return str(_located(dataset.path, workspace)) if dataset.path else str(listing.root)


def label_numbers(listing: Listing) -> Rows:
    """Return the number of each image's class, int64 [N]."""
    numbers = {name: number for number, name in enumerate(listing.classes)}
    return np.array([numbers[name] for name in listing.class_names], dtype=np.int64)


def _read(dataset: DatasetConfig, workspace: Workspace) -> Listing:
    if dataset.builtin:
        return read_folders(write_digits(workspace.builtin / dataset.builtin))
    path = _located(str(dataset.path), workspace)
    try:
        return _read_path(path, dataset)
    except OSError as error:
        raise DatasetError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check dataset.path and its permissions"
        ) from error


def _named(name: str, workspace: Workspace, remedy: str = CORRECT_PATH) -> Path:
    """Return the path that a name in the search space stands for, fetching what is at an address."""
    if is_address(name):
        return fetched(name, workspace)
    try:
        return (workspace.root / Path(name).expanduser()).absolute()
    except RuntimeError as error:  # ~ of a user that does not exist
        raise DatasetError(f"{name}: cannot be looked up ({error}); {remedy}") from error


def _located(name: str, workspace: Workspace) -> Path:
    path = _named(name, workspace)
    try:
        if path.exists():
            return path
    except OSError as error:  # a name that is too long
        raise DatasetError(f"{name}: cannot be looked up ({error}); {CORRECT_PATH}") from error
    begins = "" if Path(name).expanduser().is_absolute() else f"; relative paths begin in {workspace.root}"
    raise DatasetError(f"{path}: no such file or folder{begins}; {CORRECT_PATH}")


def _read_path(path: Path, dataset: DatasetConfig) -> Listing:
    layout = _recognised(path) if dataset.layout == "auto" else dataset.layout
    if layout != "csv" and not path.is_dir():
        raise DatasetError(f"{path}: the {layout} layout is read from a folder, this is a file; {CORRECT_PATH}")
    match layout:
        case "csv":
            return read_csv(path, dataset)
        case "tiny-imagenet":
            return read_tiny_imagenet(path)
        case "folder":
            return read_folders(path, normalized=dataset.labels == "normalize")
        case _:
            assert_never(layout)


def _recognised(path: Path) -> Layout:
    if path.is_file():
        if is_csv(path):
            return "csv"
        raise DatasetError(f"{path}: a data set is a folder or a .csv file; {CORRECT_PATH}")
    if is_tiny_imagenet(path):
        return "tiny-imagenet"
    splits = split_folders(path)
    if is_csv(path):
        if any(
            holds_images(path / splits["train"] / name)
            for name in (subfolders(path / splits["train"]) if splits else [])
        ):
            raise DatasetError(
                f"{path}: there are both train.csv and class folders in train/; say which counts: "
                "dataset.layout: csv or dataset.layout: folder"
            )
        return "csv"
    if splits:
        _refuse_stray_classes(path)
    else:
        _refuse_splits_without_classes(path)
    return "folder"


def _refuse_splits_without_classes(path: Path) -> None:
    """Raise DatasetError where folders are named as splits and hold images directly: they would become classes."""
    found = {name: SPLIT_NAMES[name.lower()] for name in class_folders(path) if name.lower() in SPLIT_NAMES}
    if "train" in found.values() and len(set(found.values())) > 1:
        raise DatasetError(
            f"{path}: {', '.join(found)} are named as splits and hold images directly, in no class folders. Put the "
            "images of each class into a folder of its own there, or list them with their classes in a CSV file; if "
            "these are classes, say so: dataset.layout: folder"
        )


def _refuse_stray_classes(path: Path) -> None:
    others = [name for name in subfolders(path) if name.lower() not in SPLIT_NAMES]
    stray = [name for name in others if holds_images(path / name) or class_folders(path / name)]
    if stray:
        raise DatasetError(
            f"{path}: beside the split folders there are folders of images:\n{enumerated(stray)}\n"
            "Move them into train/ if they are classes, call one val or test if it is a split, or say dataset.layout: "
            "folder to leave them out."
        )


def require_images(listing: Listing, where: str) -> None:
    """Raise `DatasetError` without images, and for class names that no file of UTF-8 text can hold."""
    if not listing.paths:
        beside = f"; {counted(listing.others)} are of a kind that is not read" if listing.others else ""
        raise DatasetError(f"{where}: no images found{beside}; check dataset.path and dataset.layout")
    unwritable = [ascii(name) for name in listing.classes if any("\ud800" <= c <= "\udfff" for c in name)]
    if unwritable:
        raise DatasetError(
            f"{listing.root}: the names of classes must be UTF-8, {len(unwritable):,} are not:\n"
            f"{enumerated(unwritable)}\nRename these folders."
        )


def check_splits(splits: Splits, labels: Rows, classes: tuple[str, ...], where: str, folds: Folds = ()) -> None:
    """Raise `DatasetError` unless there are two classes, each in train and in the folds, and no split is empty."""
    if len(classes) < 2:
        raise DatasetError(f"{where}: a classifier needs at least 2 classes, found {list(classes)}; check dataset.path")
    if folds:
        check_folds(folds, labels, classes, where)
    present = set(labels[splits["train"]].tolist())
    missing = [name for number, name in enumerate(classes) if number not in present]
    if missing:
        raise DatasetError(
            f"{where}: every class needs an image in the training split, {len(missing):,} of {len(classes):,} "
            f"have none:\n{enumerated(missing)}\nAdd images, remove the class, or raise dataset.limit.train_images."
        )
    for split, rows in splits.items():
        if not rows.size:
            odd = odd_labels(classes)
            raise DatasetError(
                f"{where}: the {split} split needs at least one image, found none; add images, or give each class two "
                f"so that {split} can be split off" + (f". The {odd}" if odd else "")
            )


def _compact(
    listing: Listing, labels: Rows, classes: tuple[str, ...], splits: Splits, folds: Folds, states: FileStates
) -> ImageIndex:
    """Drop the rows that are in no split, so that a limited data set is decoded only as far as it is used."""
    used = np.sort(np.concatenate(list(splits.values())))
    return ImageIndex(
        root=listing.root,
        paths=[listing.paths[row] for row in used],
        labels=labels[used],
        classes=classes,
        splits={split: np.searchsorted(used, rows) for split, rows in splits.items()},
        folds=tuple(np.searchsorted(used, rows) for rows in folds),
        states=states.of(used),
        left_out=[listing.paths[row] for row in np.setdiff1d(np.arange(len(listing.paths)), used).tolist()],
    )

"""The images that a command looks at: of a folder or CSV file as found, of a search space as its study splits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.config.loading import load_sweep
from sweeper.data.csv_layout import is_csv
from sweeper.data.folder_layout import refuse_another_level
from sweeper.data.groups import suspicions
from sweeper.data.index import ImageIndex, build_index, label_numbers, read_listing
from sweeper.data.labels import look_alikes
from sweeper.data.listing import Listing
from sweeper.data.notes import Notes
from sweeper.data.odd_labels import odd_labels
from sweeper.data.scan import counted
from sweeper.data.splitting import Drawing, Units, draw_splits
from sweeper.errors import ConfigError, DatasetError, Problem
from sweeper.paths import Workspace

WHOLE = "all"
"""In place of a split, where the images come without splits."""


@dataclass(frozen=True)
class ImageList:
    """Images with class and split, each [N], in the order of their paths, which are relative to `root`."""

    root: Path
    paths: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    classes: tuple[str, ...]
    notes: Notes = field(default_factory=Notes)
    """What was noticed while they were listed."""

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, row: int) -> str:
        return str(self.root / self.paths[row])

    def of_splits(self, wanted: Sequence[str]) -> ImageList:
        """Return the images of these splits."""
        rows = [row for row, split in enumerate(self.splits) if split in wanted]
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            splits=[self.splits[row] for row in rows],
        )


def dataset_of(path: Path, csv: CsvConfig) -> DatasetConfig:
    """Return the data set of a search space (.yaml), or the one that a folder or CSV file is.

    Raises ConfigError for what `csv` says where there is no CSV file that it could be of.
    """
    if csv != CsvConfig() and (_is_search_space(path) or (path.is_dir() and not is_csv(path))):
        rule = f"describe a CSV file, and {path} is none; leave them out, or name one"
        raise ConfigError(
            [Problem("--path-column, --label-column, --split-column, --csv-images and --extension", "", rule)]
        )
    if _is_search_space(path):
        return load_sweep(path).dataset
    return DatasetConfig(path=str(path), csv=csv, missing_labels="skip", on_bad_image="skip")


def _is_search_space(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def read_image_list(path: Path, csv: CsvConfig, workspace: Workspace) -> ImageList:
    """Read a folder, a CSV file, or the data set of a search space (.yaml).

    Raises DatasetError for images or labels that cannot be used, ConfigError for a wrong search space.
    """
    dataset = dataset_of(path, csv)
    if _is_search_space(path):
        return _of_index(build_index(dataset, workspace))
    listing = read_listing(dataset, workspace)
    if not listing.paths:
        beside = f", but {counted(listing.others)}" if listing.others else ""
        if listing.skipped:
            beside = f": all rows are without a label ({counted(listing.skipped)})"
        raise DatasetError(f"{path}: no images found{beside}; name class folders, a CSV file or a search space")
    refuse_another_level(listing, str(path), "name")
    splits = [split or WHOLE for split in listing.split_names]
    return ImageList(
        listing.root, listing.paths, listing.class_names, splits, listing.classes, _noticed(listing, dataset)
    )


def _noticed(listing: Listing, dataset: DatasetConfig) -> Notes:
    """Return what can be said of images that no study has split: of groups, with splits as `run` draws them unasked."""
    labels = label_numbers(listing)
    drawing = Drawing(dataset.val_fraction, dataset.test_fraction, dataset.split_seed)
    splits = draw_splits(listing.split_names, labels, Units(np.arange(len(labels))), drawing)
    return Notes(
        columns=listing.columns,
        others=listing.others,
        skipped=listing.skipped,
        look_alikes=look_alikes(listing.classes),
        absent=listing.absent,
        odd_labels=odd_labels(listing.classes),
        suspicions=suspicions(listing, labels, tuple(splits.values()), None),
    )


def _of_index(index: ImageIndex) -> ImageList:
    splits = [""] * len(index.paths)
    for split, rows in index.splits.items():
        for row in rows.tolist():
            splits[row] = "train" if index.folds and split != "test" else split  # each fold is trained on, too
    labels = [index.classes[label] for label in index.labels.tolist()]
    return ImageList(index.root, index.paths, labels, splits, index.classes, index.notes)

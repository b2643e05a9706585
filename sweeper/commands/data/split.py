"""`sweeper data split`: splits drawn and written as lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sweeper.commands.data.layout import csv_config
from sweeper.commands.options import (
    CsvImagesOption,
    ExtensionOption,
    LabelColumnOption,
    PathColumnOption,
    SplitColumnOption,
)
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import say, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeper.config.dataset import DatasetConfig
    from sweeper.data.groups import Grouping
    from sweeper.data.listing import Listing

OPTIONS = {"split_seed": "--seed", "": "--group-column and --group-from"}
"""Options that have other names than what they say of a data set, by the latter; together they have none."""


def split(
    data: Annotated[Path, typer.Argument(help="Class folders, or a CSV file of images and labels.")],
    train_fraction: Annotated[
        float | None, typer.Option(help="Share of the training split, in place of --val-fraction.")
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share of the validation split, by default 0.2.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of the test split.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
    class_codes: Annotated[
        Path | None, typer.Option(help='JSON file that encodes the labels: {"cat": 0} or {"0": "cat"}.')
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the lists, by default DATA-splits.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace lists that are there.")] = False,
    group_column: Annotated[
        str | None, typer.Option(help="Column, such as patient_id, whose images with one value stay in one list.")
    ] = None,
    group_from: Annotated[
        str | None, typer.Option(metavar="REGEX", help="The same, from the path of each image.")
    ] = None,
    labels: Annotated[
        Literal["as_written", "normalize"],
        typer.Option(help="normalize: classes that differ only in case, blanks and the like are one."),
    ] = "as_written",
    missing_labels: Annotated[
        Literal["error", "skip", "keep"],
        typer.Option(help="What happens to a row whose label is nan, None, NA or empty."),
    ] = "error",
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """Write train.csv, valid.csv and perhaps test.csv: stratified, seeded, copies and groups in one split."""
    from sweeper.curation.split import draw, told, write_splits

    dataset = _dataset(
        path=str(data),
        csv=csv_config(path_column, label_column, split_column, csv_images, extension),
        val_fraction=_val_fraction(train_fraction, val_fraction, test_fraction),
        test_fraction=test_fraction,
        split_seed=seed,
        group_column=group_column,
        group_from=group_from,
        labels=labels,
        missing_labels=missing_labels,
    )
    folder = to or _folder_beside(data)
    listing = _listing(dataset, class_codes)
    drawn = draw(listing, dataset, this_workspace().cache)
    base = write_splits(listing, drawn, folder, force=force)
    for line in told(drawn):
        warn(line)
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in drawn.splits.items())
    say(f"{counts} images of {len(listing.classes):,} classes listed in {folder}")
    say(f"next, in a search space: dataset: {_dataset_section(folder, base, drawn.groups, listing.classes)}")


def _folder_beside(data: Path) -> Path:
    """Return the folder of the lists of a data set, beside it. Raises ConfigError where it has no name."""
    from sweeper.errors import ConfigError, Problem

    named = data if data.name and data.name != ".." else data.resolve()
    if not named.name:
        raise ConfigError([Problem("--to", "", f"is missing: the folder of the lists is named after {data} otherwise")])
    return named.with_name(f"{named.name.removesuffix('.csv')}-splits")


def _dataset(**options: Any) -> DatasetConfig:
    """Return what the options say of a data set. Raises ConfigError for one that cannot be."""
    from pydantic import ValidationError

    from sweeper.config.dataset import DatasetConfig
    from sweeper.config.wording import rule_of
    from sweeper.errors import ConfigError, Problem

    try:
        return DatasetConfig.model_validate(options)
    except ValidationError as error:
        named = [(".".join(map(str, part["loc"])), rule_of(part)) for part in error.errors()]
        raise ConfigError([Problem(OPTIONS.get(key) or _option(key), "", text) for key, text in named]) from None


def _option(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def _val_fraction(train: float | None, val: float | None, test: float) -> float:
    from sweeper.errors import ConfigError, Problem

    share = val if val is not None else 1 - train - test if train is not None else 0.2
    whole = (train if train is not None else 1 - share - test) + share + test
    if not (0 < share < 1 and 0 <= test < 1 and share + test < 1) or abs(whole - 1) > 1e-9:
        rule = "fractions lie between 0 and 1 and leave images for training; train, val and test make 1 together"
        shown = f"train {train}, val {val}, test {test}"
        raise ConfigError([Problem("--train-fraction, --val-fraction, --test-fraction", "", f"{rule}, got {shown}")])
    return share


def _listing(dataset: DatasetConfig, class_codes: Path | None) -> Listing:
    """Read the images and labels, names in place of codes."""
    from dataclasses import replace

    from sweeper.curation.class_codes import decoded_labels, read_class_codes
    from sweeper.data.index import read_listing
    from sweeper.data.listing import in_class_order

    listing = read_listing(dataset, this_workspace())
    if class_codes is None:
        return listing
    codes = read_class_codes(class_codes, set(listing.class_names))
    names = decoded_labels(listing.class_names, codes, class_codes)
    return replace(listing, class_names=names, classes=in_class_order(set(names)))


def _images_from(folder: Path, base: Path) -> str:
    """Return the folder of the images as the lists in `folder` are read: links are followed after the dots."""
    if base.resolve() == folder.resolve():
        return "."
    found = os.path.relpath(base, folder)
    read = Path(os.path.normpath(folder.absolute() / found))
    return found if read.resolve() == base.resolve() else str(base.resolve())


def _dataset_section(folder: Path, base: Path, groups: Grouping | None, classes: Sequence[str]) -> str:
    """Return what stands under `dataset:` in a search space that uses the lists."""
    from sweeper.config.document import written
    from sweeper.curation.split import group_column
    from sweeper.data.labels import is_missing

    images = _images_from(folder, base)
    where = "" if images == "." else f", csv: {{images: {written(images)}}}"
    column = f", group_column: {written(group_column(groups))}" if groups else ""
    words = ", missing_labels: keep" if any(map(is_missing, classes)) else ""
    return f"{{path: {written(str(folder))}{where}{column}{words}}}"

"""Images named in CSV files: one file with or without a split column, or a file a split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.data.csv_columns import PATH_COLUMNS, Columns, find_columns, pick, plain_name
from sweeper.data.further_columns import FurtherColumns
from sweeper.data.labels import is_missing
from sweeper.data.listing import SPLIT_NAMES, Listing, Split, enumerated, in_class_order
from sweeper.data.named_files import NamedFiles
from sweeper.errors import DatasetError
from sweeper.safeguards.quantity import quantity
from sweeper.safeguards.spreadsheet import delimiter_of, read_table

LONGEST_NAME = 255  # characters of a name that a message shows, as many as a file system allows
ANOTHER_LABEL = "there with the label"
SPLIT_FILES: dict[str, Split] = {"train.csv": "train", "val.csv": "val", "valid.csv": "val", "test.csv": "test"}


@dataclass
class _Rows:
    """The rows read so far, and what is wrong with the others."""

    files: NamedFiles
    further: FurtherColumns
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[Split | None] = field(default_factory=list)
    first_seen: dict[str, tuple[int, tuple[str, int]]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    absent: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


def is_csv(path: Path) -> bool:
    return (path.suffix.lower() == ".csv" and not path.is_dir()) or (path / "train.csv").is_file()


def read_csv(path: Path, dataset: DatasetConfig) -> Listing:
    """List the images that a CSV file names, or those of a folder's train.csv, val.csv and test.csv.

    Labels are taken as text. Raises `DatasetError` with all rows that cannot be used: files that are
    missing, unless `on_bad_image` leaves them out, or lie outside the images folder, missing labels, unknown splits,
    files named twice.
    """
    files, options = _files(path), dataset.csv
    folder = path if path.is_dir() else path.parent
    named = NamedFiles(Path(os.path.normpath(folder / options.images)).absolute(), options.extension)
    rows = _Rows(named, FurtherColumns(dataset.group_column))
    for file, split in files.items():
        _read_file(file, split, dataset, rows)
    if rows.problems:
        raise DatasetError(_told(path, rows, options))
    return Listing(
        root=rows.files.folder,
        paths=rows.paths,
        class_names=rows.labels,
        split_names=rows.splits,
        classes=in_class_order(set(rows.labels)),
        skipped=rows.skipped,
        columns=rows.columns,
        further=rows.further.columns(),
        files=tuple(files),
        absent=tuple(rows.absent),
    )


def _told(path: Path, rows: _Rows, options: CsvConfig) -> str:
    appended = f" with {options.extension!r} appended" if options.extension else ""
    told = (
        f"{path}: {quantity(len(rows.problems), 'row')} cannot be used:\n{enumerated(rows.problems)}\n"
        f"Correct or remove these rows; names are looked up in {rows.files.folder} (dataset.csv.images){appended}."
    )
    choices = {
        "the label is missing": "Rows without a label: dataset.missing_labels: skip leaves them out, keep takes the "
        "word for a class.",
        "does not exist": "Rows whose file does not exist: dataset.on_bad_image: skip leaves them out.",
        ANOTHER_LABEL: "An image has one class here; several labels per image are not supported.",
    }
    fitting = [choice for said, choice in choices.items() if any(said in problem for problem in rows.problems)]
    return " ".join([told, *fitting])


def fitting_settings(path: Path, options: CsvConfig) -> CsvConfig:
    """Return those settings of another CSV data set that fit this one: its columns, its folder, what names lack.

    Raises `DatasetError` when it cannot be read.
    """
    files = _files(path)
    headers, whole = [], False
    for file in files:
        lines = _lines(file)
        headers.append({plain_name(name) for name in next(lines, (0, []))[1]})
        first = next(lines, (0, []))[1]
        whole |= any(value.lower().endswith(options.extension.lower()) for value in first)
    kept: dict[str, str | bool] = {} if whole else {"extension": options.extension}
    for key in ("path_column", "label_column", "split_column"):
        named = getattr(options, key)
        if named is False or (named and all(plain_name(named) in header for header in headers)):
            kept[key] = named
    folder = path if path.is_dir() else path.parent
    if (folder / options.images).is_dir():
        kept["images"] = options.images
    return CsvConfig.model_validate(kept)


@dataclass(frozen=True)
class NamedImage:
    """One row of a CSV file without classes: the name in it, and the file or the reason why there is none."""

    name: str
    path: str
    reason: str = ""


def read_names(file: Path, options: CsvConfig) -> list[NamedImage]:
    """List the images that the image column of a CSV file names, whatever else it holds.

    Raises `DatasetError` when the file cannot be read or has no such column.
    """
    lines = _lines(file)
    header = next(lines, (0, []))[1]
    problems: list[str] = []
    place = pick(header, options.path_column, PATH_COLUMNS, "image", "--path-column", problems)
    if place is None or problems:
        raise DatasetError(f"{file}: line 1 has the columns {header}:\n{enumerated(problems)}")
    files = NamedFiles(Path(os.path.normpath(file.parent / options.images)).absolute(), options.extension)
    return [_named_image(files, _cell(values, place)) for _, values in lines]


def _named_image(files: NamedFiles, name: str) -> NamedImage:
    path = files.path_of(name)
    if path is None:
        return NamedImage(name + files.extension, "", "lies outside the images folder")
    reason = "" if files.exist(path) else "the file does not exist"
    return NamedImage(name + files.extension, str(files.folder / path), reason)


def _files(path: Path) -> dict[Path, Split | None]:
    if not path.is_dir():
        if not path.is_file():
            raise DatasetError(f"{path}: is not a regular file; point dataset.path at a CSV file or a folder")
        return {path: None}
    files: dict[Path, Split | None] = {
        path / name: split for name, split in SPLIT_FILES.items() if (path / name).is_file()
    }
    if path / "train.csv" not in files:
        raise DatasetError(f"{path}: the csv layout needs a CSV file, or a folder with train.csv in it; add train.csv")
    if path / "val.csv" in files and path / "valid.csv" in files:
        raise DatasetError(f"{path}: there are both val.csv and valid.csv; keep one of them")
    return files


def _read_file(file: Path, split: Split | None, dataset: DatasetConfig, rows: _Rows) -> None:
    lines = _lines(file)
    header = next(lines, (0, []))[1]
    columns = find_columns(file, header, dataset.csv, split_is_known=split is not None)
    rows.columns |= columns.named()
    further = rows.further.of_file(file, columns, len(rows.paths))
    for number, values in lines:
        if _read_row((file.name, number), values, columns, split, dataset, rows):
            further.add(values)
    if columns.split is None and split is None and dataset.csv.split_column is None:
        _refuse_unused_split(file, rows)


def _refuse_unused_split(file: Path, rows: _Rows) -> None:
    """Raise `DatasetError` for a column that holds train, val and test and is called otherwise."""
    for name, values in rows.further.values():
        found = sorted(filter(None, values))
        splits = {SPLIT_NAMES.get(value.lower()) for value in found}
        if len(splits) > 1 and None not in splits:
            raise DatasetError(
                f"{file}: the column {name!r} holds {', '.join(found)} and is not called split; to use it, set "
                f"dataset.csv.split_column: {name}; to ignore it, set dataset.csv.split_column: false (`sweeper data`: "
                "--split-column)"
            )


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and values of every row that is not empty, the header included."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            yield from read_table(stream, delimiter_of(first))
    except (OSError, ValueError) as error:  # of text that is not UTF-8 too
        raise DatasetError(f"{file}: cannot be read as CSV ({error}); save it as UTF-8 text with commas") from error


def _cell(values: Sequence[str], place: int) -> str:
    return values[place] if place < len(values) else ""


def _read_row(
    place: tuple[str, int],
    values: list[str],
    columns: Columns,
    split: Split | None,
    dataset: DatasetConfig,
    rows: _Rows,
) -> bool:
    """Take a row in, or what is wrong with it; return whether it was taken."""
    name, label = _cell(values, columns.path), _cell(values, columns.label)
    if is_missing(label) and (not label or dataset.missing_labels != "keep"):
        if dataset.missing_labels == "skip":
            rows.skipped[label or "empty"] += 1
        else:
            rows.problems.append(f"{_written(place)}: {_missing(label)}")
        return False
    if columns.split is not None and split is None:
        written = _cell(values, columns.split)
        split = SPLIT_NAMES.get(written.lower())
        if split is None:
            rows.problems.append(f"{_written(place)}: unknown split {written!r}; use train, val or test")
            return False
    path = rows.files.path_of(name)
    if path is None or path in rows.first_seen:
        rows.problems.append(f"{_written(place)}: {_problem(rows, name + rows.files.extension, path, label)}")
        return False
    if not rows.files.exist(path):
        if dataset.on_bad_image == "skip":
            rows.absent.append(path)
        else:
            rows.problems.append(f"{_written(place)}: {_shown(name + rows.files.extension)} does not exist")
        return False
    rows.first_seen[path] = len(rows.paths), place
    rows.paths.append(path)
    rows.labels.append(label)
    rows.splits.append(split)
    return True


def _written(place: tuple[str, int]) -> str:
    return f"{place[0]} line {place[1]}"


def _missing(label: str) -> str:
    return f"the label is missing ({label!r})" if label else "the label is empty"


def _problem(rows: _Rows, name: str, path: str | None, label: str) -> str:
    if path is None:
        return f"{_shown(name)} lies outside the images folder"
    first, place = rows.first_seen[path]
    other = "" if rows.labels[first] == label else f", {ANOTHER_LABEL} {rows.labels[first]!r}"
    return f"{_shown(name)} is a duplicate of {_written(place)}{other}"


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")

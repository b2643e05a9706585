"""Images named in CSV files: one file with or without a split column, or a file a split."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.config.dataset import CsvConfig
from sweeper.data.listing import SPLIT_NAMES, Listing, Split, enumerated, in_class_order
from sweeper.errors import DatasetError

PATH_COLUMNS = ("path", "image", "file", "filename", "image_id", "image_name", "img")
LABEL_COLUMNS = ("label", "class", "target", "category")
LONGEST_NAME = 255  # characters of a name that a message shows, as many as a file system allows
SPLIT_FILES: dict[str, Split] = {"train.csv": "train", "val.csv": "val", "valid.csv": "val", "test.csv": "test"}


@dataclass(frozen=True)
class _Columns:
    path: str
    label: str
    split: str | None


@dataclass
class _Rows:
    """The rows read so far, and what is wrong with the others."""

    images: Path
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[Split | None] = field(default_factory=list)
    first_seen: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def is_csv(path: Path) -> bool:
    return (path.suffix.lower() == ".csv" and not path.is_dir()) or (path / "train.csv").is_file()


def read_csv(path: Path, options: CsvConfig) -> Listing:
    """List the images that a CSV file names, or those of a folder's train.csv, val.csv and test.csv.

    Labels are taken as text. Raises `DatasetError` with all rows that cannot be used: files that are
    missing or lie outside the images folder, empty labels, unknown splits, files named twice.
    """
    files = _files(path)
    folder = path if path.is_dir() else path.parent
    rows = _Rows(images=Path(os.path.normpath(folder / options.images)).absolute())
    for file, split in files.items():
        _read_file(file, split, options, rows)
    if rows.problems:
        raise DatasetError(
            f"{path}: {len(rows.problems):,} rows cannot be used:\n{enumerated(rows.problems)}\n"
            f"Correct or remove these rows; names are looked up in {rows.images} (dataset.csv.images)"
            + (f" with {options.extension!r} appended." if options.extension else ".")
        )
    return Listing(rows.images, rows.paths, rows.labels, rows.splits, in_class_order(set(rows.labels)))


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
    header = [name.strip() for name in next(lines, (0, []))[1]]
    column = _column(header, options.path_column, PATH_COLUMNS)
    if column is None:
        wanted = _wanted(options.path_column, PATH_COLUMNS)
        raise DatasetError(f"{file}: line 1 has the columns {header} and none is {wanted} for the image; name it")
    folder = Path(os.path.normpath(file.parent / options.images)).absolute()
    rows = (dict(zip(header, values, strict=False)) for _, values in lines)
    return [_named_image(folder, row.get(column, "").strip() + options.extension) for row in rows]


def _named_image(folder: Path, name: str) -> NamedImage:
    path = _inside(folder, name)
    if path is None:
        return NamedImage(name, "", "lies outside the images folder")
    return NamedImage(name, str(folder / path), "" if _exists(folder / path) else "there is no such file")


def _files(path: Path) -> dict[Path, Split | None]:
    if not path.is_dir():
        if not path.is_file():
            raise DatasetError(f"{path}: is no regular file; point dataset.path at a CSV file or a folder")
        return {path: None}
    files: dict[Path, Split | None] = {
        path / name: split for name, split in SPLIT_FILES.items() if (path / name).is_file()
    }
    if path / "train.csv" not in files:
        raise DatasetError(f"{path}: the csv layout needs a CSV file, or a folder with train.csv in it; add train.csv")
    if path / "val.csv" in files and path / "valid.csv" in files:
        raise DatasetError(f"{path}: there are both val.csv and valid.csv; keep one of them")
    return files


def _read_file(file: Path, split: Split | None, options: CsvConfig, rows: _Rows) -> None:
    lines = _lines(file)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    columns = _columns(file, header, options)
    for number, values in lines:
        row = dict(zip(header, values, strict=False))
        _read_row(f"{file.name} line {number}", row, columns, split, options, rows)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and values of every row that is not empty, the header included."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=max(",;\t", key=first.count))
            yield from ((reader.line_num, values) for values in reader if any(value.strip() for value in values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read as CSV ({error}); save it as UTF-8 text with commas") from error


def _columns(file: Path, header: list[str], options: CsvConfig) -> _Columns:
    path = _column(header, options.path_column, PATH_COLUMNS)
    label = _column(header, options.label_column, LABEL_COLUMNS)
    split = options.split_column or ("split" if "split" in header else None)
    problems = []
    if path is None:
        problems.append(
            f"no column {_wanted(options.path_column, PATH_COLUMNS)} for the image; name it: csv.path_column"
        )
    if label is None:
        problems.append(
            f"no column {_wanted(options.label_column, LABEL_COLUMNS)} for the class; name it: csv.label_column"
        )
    if split is not None and split not in header:
        problems.append(f"no column {split!r} for the split; correct csv.split_column")
    if path is None or label is None or problems:
        raise DatasetError(f"{file}: line 1 has the columns {header}:\n{enumerated(problems)}")
    return _Columns(path, label, split)


def _column(header: list[str], named: str | None, common: tuple[str, ...]) -> str | None:
    if named is not None:
        return named if named in header else None
    by_lower = {name.lower(): name for name in reversed(header)}
    return next((by_lower[name] for name in common if name in by_lower), None)


def _wanted(named: str | None, common: tuple[str, ...]) -> str:
    return repr(named) if named else "/".join(common)


def _read_row(
    where: str, row: dict[str, str], columns: _Columns, split: Split | None, options: CsvConfig, rows: _Rows
) -> None:
    name, label = row.get(columns.path, "").strip(), row.get(columns.label, "").strip()
    if columns.split is not None and split is None:
        split = SPLIT_NAMES.get(row.get(columns.split, "").strip().lower())
        if split is None:
            rows.problems.append(f"{where}: split {row.get(columns.split, '')!r} is none of train, val, test")
            return
    path = _inside(rows.images, name + options.extension)
    problem = _problem(rows, name + options.extension, path, label)
    if problem or path is None:
        rows.problems.append(f"{where}: {problem}")
        return
    rows.first_seen[path] = where
    rows.paths.append(path)
    rows.labels.append(label)
    rows.splits.append(split)


def _problem(rows: _Rows, name: str, path: str | None, label: str) -> str | None:
    shown = repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")
    if path is None:
        return f"{shown} lies outside the images folder"
    if not label:
        return "the label is empty"
    if path in rows.first_seen:
        return f"{shown} is a duplicate of {rows.first_seen[path]}"
    if not _exists(rows.images / path):
        return f"there is no file {shown}"
    return None


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def _inside(folder: Path, name: str) -> str | None:
    """Return a name relative to the folder, or None when it leads out of it: `../../etc/passwd`."""
    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - pathlib keeps the `..`
    inside = os.path.join(folder, "")  # noqa: PTH118
    return path[len(inside) :] if path.startswith(inside) else None

"""Tiny ImageNet as distributed: wnids.txt, train/WNID/images/, val/images/ and val_annotations.txt.

The test images are distributed without labels and are not used. A copy whose val/ someone has
already arranged as class folders is read as well.
"""

from __future__ import annotations

from pathlib import Path

from sweeper.data.folder_layout import refuse_unknown_classes
from sweeper.data.listing import Listing, Split, enumerated
from sweeper.data.scan import find_images, subfolders
from sweeper.errors import DatasetError

CLASSES_FILE = "wnids.txt"
ANNOTATIONS_FILE = "val_annotations.txt"


def is_tiny_imagenet(root: Path) -> bool:
    return (root / "train").is_dir() and (
        (root / CLASSES_FILE).is_file() or (root / "val" / ANNOTATIONS_FILE).is_file()
    )


def read_tiny_imagenet(root: Path) -> Listing:
    """List the training and validation images; the classes are the WordNet ids, sorted.

    Raises `DatasetError` when a file that the annotations name is missing or of an unknown class.
    """
    classes = _classes(root)
    train = [(f"train/{name}/{path}", name) for name in classes for path in find_images(root / "train" / name)]
    val = _annotated(root, classes) if (root / "val" / ANNOTATIONS_FILE).is_file() else _arranged(root, classes)
    paths, names = zip(*train, *val, strict=True) if train or val else ((), ())
    splits: list[Split] = ["train"] * len(train)
    splits += ["val"] * len(val)
    files = [file for file in (root / CLASSES_FILE, root / "val" / ANNOTATIONS_FILE) if file.is_file()]
    return Listing(root, paths, names, splits, classes, files=tuple(files))


def _classes(root: Path) -> tuple[str, ...]:
    listed = root / CLASSES_FILE
    lines = _text(listed).splitlines() if listed.is_file() else subfolders(root / "train")
    names = [line.strip() for line in lines if line.strip()]
    missing = sorted(set(names) - set(subfolders(root / "train")))
    if missing:
        raise DatasetError(
            f"{listed}: every class has a folder in {root / 'train'}, {len(missing):,} have not:\n"
            f"{enumerated(missing)}\nUnpack the archive again."
        )
    return tuple(sorted(set(names)))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: cannot be read as UTF-8 text ({error}); unpack the archive again") from error


def _arranged(root: Path, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    if not (root / "val").is_dir():
        return []
    refuse_unknown_classes(root / "val", set(subfolders(root / "val")) - set(classes))
    names = [name for name in subfolders(root / "val") if name in classes]
    return [(f"val/{name}/{path}", name) for name in names for path in find_images(root / "val" / name)]


def _annotated(root: Path, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    present = set(find_images(root / "val" / "images"))
    known = set(classes)
    rows, problems = [], []
    lines = _text(root / "val" / ANNOTATIONS_FILE).splitlines()
    for number, line in enumerate(lines, start=1):
        name, class_name = [*line.split("\t"), ""][:2]
        if name not in present:
            problems.append(f"line {number}: there is no val/images/{name}")
        elif class_name not in known:
            problems.append(f"line {number}: {class_name!r} is not in {CLASSES_FILE}")
        rows.append((f"val/images/{name}", class_name))
    if problems:
        raise DatasetError(
            f"{root / 'val' / ANNOTATIONS_FILE}: {len(problems):,} of {len(lines):,} lines cannot be used:\n"
            f"{enumerated(problems)}\nUnpack the archive again."
        )
    return sorted(rows)

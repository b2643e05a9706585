"""Every bad data set: exit 3, the file or folder at fault, the remedy, and no study begun."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config.dataset import DatasetConfig
from sweeper.data.index import build_index
from sweeper.data.prepare import prepare_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.functional.answer import Ask, ask
from tests.pictures import encoded, picture, write_class_folders, write_picture, write_split_folders

__all__ = ["ask"]  # a fixture

BUILT = ("optuna.db", "mlflow.db", "mlruns")
"""What a study that has begun leaves behind."""


def answered(ask: Ask, folder: Path, dataset: str) -> str:
    """Return what `sweeper run` says of a data set that it refuses."""
    text = f"study: s\ndataset: {{{dataset}}}\nsearch: {{backbone: resnet18, image_size: 12}}\n"
    (folder / "space.yaml").write_text(text, encoding="utf-8")
    answer = ask("run", "space.yaml")
    assert answer.code == 3, answer
    assert not [name for name in BUILT if (folder / name).exists()]
    assert not list((folder / ".sweeper").rglob("*.npy")) + list((folder / ".sweeper").rglob("*.partial"))
    assert len(answer.err) < 5_000
    assert "Traceback" not in answer.err
    return answer.err


def png_of(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to be of any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def loop(path: Path) -> None:
    path.symlink_to(path)


def huge(path: Path) -> None:
    """Make a file of half a gigabyte that takes no space."""
    path.touch()
    os.truncate(path, 1 << 29)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero bytes": (lambda path: path.write_bytes(b""), "the file is empty"),
    "truncated": (lambda path: path.write_bytes(encoded(picture(1, 64, 64), "JPEG")[:900]), "damaged"),
    "text": (lambda path: path.write_text("I am no image\n" * 99), "not an image in a known format"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 99), "not an image in a known format"),
    "bomb": (lambda path: path.write_bytes(png_of(50_000, 50_000)), "bomb"),
    "bomb of one line": (lambda path: path.write_bytes(png_of(2_000_000_000, 1)), "bomb"),
    "dangling link": (lambda path: path.symlink_to("nowhere.jpg"), "No such file"),
    "link to itself": (loop, "Too many levels of symbolic links"),
    "link to a text": (lambda path: path.symlink_to("/etc/passwd"), "not an image in a known format"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "huge": (huge, "larger than 256 MiB"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("name", ["x.jpg", "größe 中文 🐈" + "x" * 200 + ".png"])
def test_a_file_that_is_not_an_image_is_named_with_the_reason(ask: Ask, tmp_path: Path, case: str, name: str) -> None:
    make, reason = BAD_FILES[case]
    write_split_folders(tmp_path / "d")
    make(tmp_path / "d/train/cat" / name)
    message = answered(ask, tmp_path, "path: d")
    assert f"train/cat/{name}: " in message
    assert reason in message
    assert "dataset.on_bad_image: skip" in message


def test_bad_images_can_be_skipped_and_an_emptied_split_is_reported(ask: Ask, tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / "d/train/cat/0000.png").write_bytes(b"")
    dataset = DatasetConfig(path=str(tmp_path / "d"), on_bad_image="skip")
    assert len(prepare_images(dataset, 12, Workspace(tmp_path)).splits["train"]) == 11
    for file in (tmp_path / "d/val").rglob("*.png"):
        file.write_bytes(b"")
    shutil.rmtree(tmp_path / ".sweeper")
    text = "study: s\ndataset: {path: d, on_bad_image: skip}\nsearch: {backbone: resnet18, image_size: 12}\n"
    (tmp_path / "space.yaml").write_text(text)
    answer = ask("run", "space.yaml")
    assert answer.code == 3
    assert "the val split needs at least one image" in answer.err


FOLDERS: dict[str, tuple[dict[str, int], str, str]] = {
    "nothing": ({}, "path: d", "neither folders nor images"),
    "images without classes": ({".": 3}, "path: d", "a folder of its own"),
    "one class": ({"cat": 3}, "path: d", "at least 2 classes"),
    "empty classes": ({"cat": 0, "dog": 0}, "path: d", "no images found"),
    "one image a class": ({"cat": 1, "dog": 1}, "path: d", "give each class two"),
    "class only in val": ({"train/a": 2, "train/b": 2, "val/a": 1, "val/c": 1}, "path: d", "add training images"),
    "class only in test": ({"train/a": 2, "train/b": 2, "test/c": 1}, "path: d", "add training images"),
    "class without images": ({"train/a": 2, "train/b": 0, "val/a": 1}, "path: d", "remove the class"),
    "no train": ({"val/a": 2, "test/a": 2}, "path: d", "no folder train"),
    "two validation folders": ({"train/a": 2, "train/b": 2, "val/a": 1, "dev/a": 1}, "path: d", "keep one of them"),
    "two training folders": ({"train/a": 2, "Train/b": 2}, "path: d", "keep one of them"),
    "classes beside splits": ({"train/a": 2, "train/b": 2, "val/a": 1, "c": 2}, "path: d", "Move them into train/"),
    "only hidden classes": ({".cat": 2, ".dog": 2}, "path: d", "neither folders nor images"),
    "limit below the classes": (
        {"a": 4, "b": 4, "c": 4},
        "path: d, limit: {train_images: 2}",
        "raise dataset.limit.train_images",
    ),
    "val_fraction that takes all": ({"a": 1, "b": 1}, "path: d, val_fraction: 0.99", "give each class two"),
    "folder read as csv": ({"a": 2, "b": 2}, "path: d, layout: csv", "add train.csv"),
    "folder read as tiny-imagenet": ({"a": 2, "b": 2}, "path: d, layout: tiny-imagenet", "cannot be read"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_an_unusable_folder_is_named_with_the_remedy(ask: Ask, tmp_path: Path, case: str) -> None:
    folders, dataset, remedy = FOLDERS[case]
    (tmp_path / "d").mkdir()
    write_class_folders(tmp_path / "d", folders)
    message = answered(ask, tmp_path, dataset)
    assert str(tmp_path / "d") in message
    assert remedy in message


PATHS = {
    "missing": ("nowhere", "correct the path (`dataset.path` in a search space)"),
    "endless": ("x" * 300, "correct the path (`dataset.path` in a search space)"),
    "of a user who does not exist": ("~nobody-here/x", "correct the path (`dataset.path` in a search space)"),
    "with a zero byte": ("a\\0b", "correct the path (`dataset.path` in a search space)"),
    "a device": ("/dev/null", "check dataset.path"),
    "a text": ("space.yaml", "a folder or a .csv file"),
    "a link to itself": ("loop", "correct the path (`dataset.path` in a search space)"),
    "below a file": ("space.yaml/x", "dataset.path"),
}


@pytest.mark.parametrize("case", PATHS)
def test_an_unusable_path_is_named_with_the_remedy(ask: Ask, tmp_path: Path, case: str) -> None:
    path, remedy = PATHS[case]
    loop(tmp_path / "loop")
    message = answered(ask, tmp_path, f'path: "{path}"')
    assert path.replace("\\0", "\\x00") in message
    assert remedy in message


def test_a_pipe_named_as_csv_is_refused_and_not_waited_for(ask: Ask, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.csv")
    assert "d.csv: is not a regular file" in answered(ask, tmp_path, "path: d.csv, layout: csv")


def test_a_class_whose_name_is_not_utf8_is_refused(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"a": 2, "b": 2})
    os.rename(tmp_path / "d/b", os.fsencode(tmp_path) + b"/d/caf\xe9")  # noqa: PTH104
    message = answered(ask, tmp_path, "path: d")
    assert "caf\\udce9" in message
    assert "Rename" in message


@pytest.mark.parametrize("file", ["wnids.txt", "val/val_annotations.txt"])
def test_lists_of_tiny_imagenet_that_are_not_text_are_refused(ask: Ask, tmp_path: Path, file: str) -> None:
    write_class_folders(tmp_path / "d", {"train/n1": 2, "train/n2": 2, "val/images": 2})
    (tmp_path / "d" / file).write_bytes(b"\xff\xfe\xfd")
    message = answered(ask, tmp_path, "path: d")
    assert file in message
    assert "UTF-8" in message


def test_classes_of_tiny_imagenet_cannot_lead_outside(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"d/train/n1": 2, "secret": 2})
    (tmp_path / "d/wnids.txt").write_text("n1\n../../secret\n")
    assert "../../secret" in answered(ask, tmp_path, "path: d")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["d", "d/train", "d/train/cat", "d/train/cat/0000.png"])
def test_what_may_not_be_read_is_named(ask: Ask, tmp_path: Path, name: str) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / name).chmod(0)
    try:
        message = answered(ask, tmp_path, "path: d")
    finally:
        (tmp_path / name).chmod(0o700)
    assert "Permission denied" in message
    assert name in message


GOOD = "pics/0000.png,cat\npics/0001.png,hot dog\npics/0002.png,cat\npics/0003.png,hot dog\n"

CSVS = {
    "empty": (b"", "no column path/image"),
    "no header": (GOOD.encode(), "csv.path_column"),
    "missing label column": (b"path\npics/0000.png\n", "csv.label_column"),
    "missing path column": (b"label\ncat\n", "csv.path_column"),
    "no UTF-8": (b"path,label\n\xff\xfe\xff,cat\n", "save it as UTF-8"),
    "header only": (b"path,label\n", "no images found"),
    "missing file": (b"path,label\npics/none.png,cat\n", "line 2: 'pics/none.png' does not exist"),
    "a folder": (b"path,label\npics,cat\n", "line 2: 'pics' does not exist"),
    "duplicate row": (b"path,label\npics/0000.png,cat\npics/0000.png,cat\n", "line 3: 'pics/0000.png' is a duplicate"),
    "duplicate by detour": (b"path,label\npics/0000.png,a\npics/../pics/0000.png,b\n", "line 3"),
    "empty label": (b"path,label\npics/0000.png, \n", "line 2: the label is empty"),
    "short row": (b"path,label\npics/0000.png\n", "line 2: the label is empty"),
    "traversal": (b"path,label\n../../etc/passwd,cat\n", "'../../etc/passwd' lies outside the images folder"),
    "absolute path": (b"path,label\n/etc/passwd,cat\n", "'/etc/passwd' lies outside the images folder"),
    "folder above": (b"path,label\n..,cat\n", "'..' lies outside the images folder"),
    "unknown split": (
        b"path,label,split\npics/0000.png,cat,holdout\n",
        "unknown split 'holdout'; use train, val or test",
    ),
    "one class": (b"path,label\npics/0000.png,cat\npics/0001.png,cat\n", "at least 2 classes"),
    "zero byte": (b"path,label\na\0b.png,cat\n", "d.csv"),
    "endless name": (b"path,label\n" + b"x" * 5000 + b",cat\n", "does not exist"),
    "endless field": (b'path,label\n"' + b"x" * 200_000 + b"\n", "cannot be read as CSV"),
    "terminal codes": (b"path,label\n\x1b[2J,cat\n", "'\\x1b[2J'"),
    "a text": (b"path,label\nd.csv,cat\npics/0000.png,dog\npics/0001.png,cat\npics/0002.png,dog\n", "d.csv"),
}


@pytest.mark.parametrize("case", CSVS)
def test_an_unusable_csv_is_named_with_line_and_remedy(ask: Ask, tmp_path: Path, case: str) -> None:
    content, expected = CSVS[case]
    write_class_folders(tmp_path, {"pics": 4})
    (tmp_path / "d.csv").write_bytes(content)
    message = answered(ask, tmp_path, "path: d.csv")
    assert str(tmp_path) in message
    assert expected in message
    assert "\x1b" not in message


def test_a_link_in_the_images_folder_of_a_csv_is_followed_wherever_it_leads(tmp_path: Path) -> None:
    """Data sets are often made of links; a line of text leads nowhere that its folder does not already lead."""
    write_picture(tmp_path / "elsewhere" / "0.png", 1)
    write_class_folders(tmp_path / "d", {"pics": 3})
    (tmp_path / "d/pics/link.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (tmp_path / "d/d.csv").write_text(
        "path,label\npics/link.png,a\npics/0000.png,a\npics/0001.png,b\npics/0002.png,b\n"
    )
    images = prepare_images(DatasetConfig(path=str(tmp_path / "d/d.csv")), 12, Workspace(tmp_path / "work"))
    assert len(images.images) == 4
    assert (images.images[3] == np.asarray(picture(1))).all()


def test_odd_but_good_data_is_used_as_it_is(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"train/Cat": 4, "train/cat": 4, "train/hot dog": 4, "val/cat": 2})
    (root / "train/cat/notes.txt").write_text("not an image's name")
    (root / "train/cat/.hidden.jpg").write_text("hidden")
    (root / "train/cat/folder.jpg").mkdir()
    (root / "train/cat/A.PNG").write_bytes(encoded(picture(90)))
    (root / "train/cat/a.png").write_bytes(encoded(picture(91)))
    (root / "train/cat" / ("ü" * 125 + ".png")).write_bytes(encoded(picture(92)))
    (root / "train/cat/up").symlink_to(root / "train")
    dataset = DatasetConfig.model_validate(
        {"path": str(root), "limit": {"train_images": 999, "val_images": 999, "classes": 99}}
    )
    images = prepare_images(dataset, 12, Workspace(tmp_path / "work"))
    assert images.classes == ("Cat", "cat", "hot dog")
    assert len(images.splits["val"]) == 2
    assert len(images.splits["train"]) >= 15


@pytest.mark.slow
def test_a_hundred_thousand_empty_folders_give_a_short_message(ask: Ask, tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"a": 2, "b": 2})
    for number in range(100_000):
        os.mkdir(f"{root}/{number}")  # noqa: PTH102 - 100,000 times
    message = answered(ask, tmp_path, "path: d")
    assert "100,000 of 100,002 have none" in message
    assert len(message.splitlines()) < 20


NAMES = st.sampled_from(["train", "val", "test", "Train", "dev", "cat", "dog", "1", "10", ".hid", "__MACOSX"])
FILES = st.sampled_from(["a.png", "b.JPG", "c.txt", ".d.png", "train.csv", "wnids.txt"])
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=3), FILES), max_size=14)
CELLS = st.sampled_from(
    ["p/0.png", "p/1.png", "p/2.png", "p/3.png", "../x", "cat", "dog", "", "train", "val", "é", '"']
)
TABLES = st.tuples(
    st.sampled_from([",", ";", "\t"]),
    st.lists(st.sampled_from(["path", "label", "split", "Image", "x"]), max_size=4),
    st.lists(st.lists(CELLS, max_size=4), max_size=9),
)


def check_index(dataset: DatasetConfig, workspace: Workspace) -> None:
    """An index is whole, each image in one split; else the error names the place."""
    message = ""
    try:
        index = build_index(dataset, workspace)
    except DatasetError as error:
        message = str(error)
    if message:
        assert str(dataset.path) in message
        return
    rows = np.concatenate(list(index.splits.values()))
    assert sorted(rows.tolist()) == list(range(len(index.paths)))
    assert len(set(index.paths)) == len(index.paths)
    assert set(index.labels.tolist()) <= set(range(len(index.classes)))
    assert all(len(found) for found in index.splits.values())


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_any_tree_gives_disjoint_complete_splits_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[list[str], str]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for folders, name in tree:
        folder = root.joinpath("d", *folders)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    check_index(DatasetConfig(path=str(root / "d")), Workspace(root))


@settings(max_examples=80, deadline=None)
@given(table=TABLES)
def test_any_csv_gives_disjoint_complete_splits_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[str, list[str], list[list[str]]]
) -> None:
    root = tmp_path_factory.mktemp("csv")
    (root / "p").mkdir()
    for number in range(4):
        (root / f"p/{number}.png").touch()
    separator, header, rows = table
    text = "\n".join(separator.join(row) for row in [header, *rows])
    (root / "d.csv").write_text(text, encoding="utf-8")
    check_index(DatasetConfig(path=str(root / "d.csv")), Workspace(root))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_for_a_csv_give_an_index_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("bytes")
    (root / "d.csv").write_bytes(b"path,label\n" + content)
    with suppress(DatasetError):
        build_index(DatasetConfig(path=str(root / "d.csv")), Workspace(root))

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.listing import enumerated, in_class_order
from sweeper.data.named_files import inside
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders, write_picture, write_split_folders


def names(index: ImageIndex, split: str) -> list[str]:
    return [index.paths[row] for row in index.splits[split]]  # type: ignore[index]


def index_of(path: Path, workspace: Workspace, **options: object) -> ImageIndex:
    return build_index(DatasetConfig(path=str(path), **options), workspace)


def message_of(path: Path, workspace: Workspace, **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        index_of(path, workspace, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_are_recognised_by_any_common_name(tmp_path: Path, workspace: Workspace, val: str) -> None:
    write_class_folders(tmp_path / "d", {"train/b": 3, "train/a": 2, f"{val}/a": 1, "test/b": 2})
    index = index_of(tmp_path / "d", workspace)
    assert index.classes == ("a", "b")
    assert {split: len(rows) for split, rows in index.splits.items()} == {"train": 5, "val": 1, "test": 2}
    assert names(index, "val") == [f"{val}/a/0000.png"]
    assert index.labels[index.splits["test"]].tolist() == [1, 1]


def test_missing_val_is_split_from_train(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"train/a": 10, "train/b": 20, "test/a": 1})
    index = index_of(tmp_path / "d", workspace, val_fraction=0.3)
    assert sum(name.startswith("train/a") for name in names(index, "val")) == 3
    assert sum(name.startswith("train/b") for name in names(index, "val")) == 6
    assert names(index, "test") == ["test/a/0000.png"]


def test_one_tree_is_split_into_three(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"a": 10, "b": 10})
    index = index_of(tmp_path / "d", workspace, val_fraction=0.25, test_fraction=0.2)
    assert {split: len(rows) for split, rows in index.splits.items()} == {"train": 12, "val": 4, "test": 4}


def test_class_of_trains_is_not_taken_for_a_split(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"boat": 3, "plane": 3, "train": 3})
    assert index_of(tmp_path / "d", workspace).classes == ("boat", "plane", "train")


def test_numbered_classes_stand_in_the_order_of_their_numbers(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {str(number): 2 for number in range(11)})
    assert index_of(tmp_path / "d", workspace).classes == tuple(map(str, range(11)))
    assert in_class_order({"10", "9", "x"}) == ("10", "9", "x")
    assert in_class_order({"9" * 5000, "10", "09", "9"}) == ("09", "9", "10", "9" * 5000)


def test_nested_folders_belong_to_their_class_and_hidden_files_to_none(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"a/images": 2, "a/more/deep": 1, "b": 2, ".git": 2})
    write_picture(root / "a" / ".hidden.png", 99)
    (root / "b" / "notes.txt").write_text("no image")
    (root / "b" / "0000.png").rename(root / "b" / "UPPER.PNG")
    index = index_of(root, workspace)
    assert list(index.paths) == [
        "a/images/0000.png",
        "a/images/0001.png",
        "a/more/deep/0000.png",
        "b/0001.png",
        "b/UPPER.PNG",
    ]


def test_symbolic_link_loops_end(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"a": 2, "b": 2})
    (root / "a" / "again").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a" / "self")
    index = index_of(root, workspace)
    assert len(index.paths) < 10
    assert "b/0000.png" in index.paths


def test_a_linked_class_folder_is_followed(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "elsewhere", {"a": 2})
    root = write_class_folders(tmp_path / "d", {"b": 2})
    (root / "a").symlink_to(tmp_path / "elsewhere" / "a")
    assert index_of(root, workspace).classes == ("a", "b")


def test_unicode_and_long_names_are_read(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"größe 中文 🐈": 2, "x" * 200: 2})
    write_picture(root / ("x" * 200) / ("ü" * 100 + ".png"), 7)
    assert len(index_of(root, workspace).paths) == 5


def test_unknown_classes_of_val_are_named(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"train/a": 2, "train/b": 2, "val/a": 1, "val/zebra": 1})
    assert "zebra" in message_of(root, workspace)


def test_class_without_training_image_is_named(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"train/a": 2, "train/b": 2, "train/empty": 0, "val/a": 1})
    message = message_of(root, workspace)
    assert "empty" in message
    assert "1 of 3" in message


def test_class_missing_from_val_only_is_fine(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"train/a": 2, "train/b": 2, "val/a": 1})
    assert len(index_of(root, workspace).splits["val"]) == 1


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({"a": 3}, "at least 2 classes, found ['a']"),
        ({}, "neither folders nor images"),
        ({".": 2}, "images lie in it directly"),
        ({"a": 0, "b": 0}, "no images found"),
        ({"a": 1, "b": 1}, "the val split needs at least one image"),
        ({"train/a": 2, "train/b": 2, "val/a": 1, "valid/a": 1}, "keep one of them"),
        ({"val/a": 2, "val/b": 2}, "no folder train"),
        ({"train/a": 2, "train/b": 2, "val/a": 1, "stray": 2}, "stray"),
        ({"training/a": 2, "training/b": 2, "evaluation/a": 2, "evaluation/b": 2}, "call one val or test"),
        ({"seg_train/a": 2, "seg_train/b": 2, "seg_test/a": 2, "seg_test/b": 2}, "call seg_test test, seg_train train"),
        ({"TrainSet/a/x": 2, "ValSet/a/x": 2, "TrainSet/b": 2}, "call TrainSet train, ValSet val"),
    ],
)
def test_unusable_folders_are_refused_with_a_remedy(
    tmp_path: Path, workspace: Workspace, folders: dict[str, int], expected: str
) -> None:
    (tmp_path / "d").mkdir()
    assert expected in message_of(write_class_folders(tmp_path / "d", folders), workspace)


def test_classes_that_are_called_like_splits_are_classes(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"bullet train": 8, "test tube": 8})
    assert index_of(tmp_path / "d", workspace).classes == ("bullet train", "test tube")


def test_images_in_no_class_folder_are_counted(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"train/a": 2, "train/b": 2, "val/a": 1, "test": 3, "train": 2, ".": 1})
    assert index_of(tmp_path / "d", workspace).notes.facts() == ["left out: 6 images in no class folder"]
    write_class_folders(tmp_path / "tree", {"a": 8, "b": 8, ".": 2})
    assert "left out: 2 images in no class folder" in index_of(tmp_path / "tree", workspace).notes.facts()


def test_missing_path_and_wrong_file_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    assert "no such file or folder" in message_of(tmp_path / "nowhere", workspace)
    (tmp_path / "data.zip").write_bytes(b"PK")
    assert "folder or a .csv file" in message_of(tmp_path / "data.zip", workspace)
    assert "read from a folder" in message_of(tmp_path / "data.zip", workspace, layout="folder")


def test_thousands_of_empty_folders_give_a_short_message(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"a": 2, "b": 2})
    for number in range(3000):
        (root / f"empty-{number}").mkdir()
    message = message_of(root, workspace)
    assert "3,000 of 3,002" in message
    assert len(message.splitlines()) < 20


def test_relative_path_counts_from_the_workspace(workspace: Workspace) -> None:
    write_class_folders(workspace.root / "pictures", {"a": 2, "b": 2})
    assert len(build_index(DatasetConfig(path="pictures"), workspace).paths) == 4


def write_tiny_imagenet(root: Path) -> Path:
    write_class_folders(root, {"train/n02/images": 3, "train/n01/images": 3, "val/images": 2, "test/images": 2})
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "val/images/0000.png").rename(root / "val/images/val_0.JPEG")
    (root / "val/images/0001.png").rename(root / "val/images/val_1.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    return root


def test_tiny_imagenet_is_recognised_as_distributed(tmp_path: Path, workspace: Workspace) -> None:
    index = index_of(write_tiny_imagenet(tmp_path / "d"), workspace)
    assert index.classes == ("n01", "n02")
    assert names(index, "val") == ["val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    assert index.labels[index.splits["val"]].tolist() == [1, 0]
    assert set(index.splits) == {"train", "val"}


def test_tiny_imagenet_classes_may_have_blanks_in_their_names(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"train/a dog/images": 2, "train/cat/images": 2, "val/a dog": 1})
    (root / "wnids.txt").write_text("a dog\r\n\r\n  cat \n")
    assert index_of(root, workspace).classes == ("a dog", "cat")


def test_tiny_imagenet_with_arranged_val_is_read(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(
        tmp_path / "d", {"train/n1/images": 2, "train/n2/images": 2, "val/n1": 1, "val/n2/images": 1}
    )
    (root / "wnids.txt").write_text("n1\nn2\n")
    assert names(index_of(root, workspace), "val") == ["val/n1/0000.png", "val/n2/images/0000.png"]


def test_tiny_imagenet_annotations_that_fail_are_listed_by_line(tmp_path: Path, workspace: Workspace) -> None:
    root = write_tiny_imagenet(tmp_path / "d")
    (root / "val" / "val_annotations.txt").write_text("gone.JPEG\tn01\nval_1.JPEG\tn99\n")
    message = message_of(root, workspace)
    assert "line 1: there is no val/images/gone.JPEG" in message
    assert "line 2: 'n99'" in message


def test_tiny_imagenet_class_without_folder_is_named(tmp_path: Path, workspace: Workspace) -> None:
    root = write_tiny_imagenet(tmp_path / "d")
    (root / "wnids.txt").write_text("n02\nn01\nn77\n")
    assert "n77" in message_of(root, workspace)


def write_csv(root: Path, text: str, name: str = "train.csv", images: int = 6) -> Path:
    write_class_folders(root, {"pics": images})
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def rows(count: int, start: int = 0, form: str = "pics/{:04d}.png,{}") -> str:
    return "\n".join(form.format(number, "hot dog" if number % 2 else "cat") for number in range(start, count))


def test_csv_columns_are_recognised_and_labels_keep_their_spaces(tmp_path: Path, workspace: Workspace) -> None:
    file = write_csv(tmp_path / "d", "Width,Filename,Label\n" + rows(6, form="9,pics/{:04d}.png, {} "))
    index = index_of(file, workspace, val_fraction=0.4)
    assert index.classes == ("cat", "hot dog")
    assert {split: len(found) for split, found in index.splits.items()} == {"train": 4, "val": 2}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_may_be_separated_otherwise_and_carry_a_byte_order_mark(
    tmp_path: Path, workspace: Workspace, separator: str
) -> None:
    text = "\ufeff" + f"image,class\n{rows(6)}\n".replace(",", separator)
    assert len(index_of(write_csv(tmp_path / "d", text), workspace).paths) == 6


def test_csv_split_column_extension_and_images_folder_are_used(tmp_path: Path, workspace: Workspace) -> None:
    text = "image_id,category,fold\n0000,1,train\n0001,10,train\n0002,9,Training\n0003,9,valid\n"
    file = write_csv(tmp_path / "d", text)
    options = CsvConfig(split_column="fold", extension=".png", images="pics")
    index = index_of(file, workspace, csv=options)
    assert index.classes == ("1", "9", "10")
    assert names(index, "val") == ["0003.png"]


def test_folder_of_csv_files_gives_the_splits(tmp_path: Path, workspace: Workspace) -> None:
    write_csv(tmp_path / "d", "path,label\n" + rows(4))
    (tmp_path / "d" / "valid.csv").write_text("path,label\n" + rows(6, start=4))
    index = index_of(tmp_path / "d", workspace)
    assert names(index, "val") == ["pics/0004.png", "pics/0005.png"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("../../etc/passwd,cat", "line 4: '../../etc/passwd' lies outside the images folder"),
        ("/etc/passwd,cat", "line 4: '/etc/passwd' lies outside"),
        ("pics/gone.png,cat", "line 4: 'pics/gone.png' does not exist"),
        ("pics/0000.png,cat", "line 4: 'pics/0000.png' is a duplicate of train.csv line 2"),
        ("pics/../pics/0000.png,cat", "duplicate"),
        ("pics/0002.png,", "line 4: the label is empty"),
        ("pics/0002.png", "line 4: the label is empty"),
        (",cat", "line 4"),
        ("pics,cat", "line 4: 'pics' does not exist"),
        ("x" * 5000 + ",cat", "does not exist"),
        ("a\0b.png,cat", "train.csv"),
    ],
)
def test_unusable_csv_rows_are_named_by_line(tmp_path: Path, workspace: Workspace, row: str, expected: str) -> None:
    file = write_csv(tmp_path / "d", "path,label\n" + rows(2) + "\n" + row + "\n")
    assert expected in message_of(file, workspace)


def test_all_unusable_csv_rows_are_counted_and_ten_shown(tmp_path: Path, workspace: Workspace) -> None:
    file = write_csv(tmp_path / "d", "path,label\n" + rows(50, form="gone/{},{}"))
    message = message_of(file, workspace)
    assert "50 rows cannot be used" in message
    assert "and 40 more" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column"),
        ("a,b\n1,2\n", "csv.label_column"),
        ("path,label,split\npics/0000.png,cat,holdout\n", "unknown split 'holdout'"),
    ],
)
def test_csv_without_usable_columns_is_refused(tmp_path: Path, workspace: Workspace, text: str, expected: str) -> None:
    assert expected in message_of(write_csv(tmp_path / "d", text), workspace)


def test_named_csv_columns_must_exist(tmp_path: Path, workspace: Workspace) -> None:
    file = write_csv(tmp_path / "d", "path,label\n" + rows(4))
    options = CsvConfig(path_column="p", label_column="l", split_column="s")
    message = message_of(file, workspace, csv=options)
    assert all(f"no column {name!r}" in message for name in "pls")


def test_of_two_columns_of_one_name_the_one_that_groups_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path, {"a": 4, "b": 4})
    rows = [
        f"{kind}/{file.name},{kind},p{n % 2},{n}"
        for kind in "ab"
        for n, file in enumerate(sorted((tmp_path / kind).iterdir()))
    ]
    for header, wanted in (("patient,patient", "patient"), ("Patient,PATIENT", "patient")):
        (tmp_path / "d.csv").write_text("\n".join([f"path,label,{header}", *rows]))
        assert "2 columns may be the patient" in message_of(tmp_path / "d.csv", workspace, group_column=wanted)
    (tmp_path / "d.csv").write_text("\n".join(["path,label,note,note", *rows]))
    assert len(index_of(tmp_path / "d.csv", workspace).paths) == 8
    (tmp_path / "d.csv").write_text("\n".join(["path,label,patient,Patient", *rows]))
    grouped = index_of(tmp_path / "d.csv", workspace, group_column="patient").notes.groups
    assert grouped.startswith("2 groups by 'patient'")


def test_csv_that_is_not_text_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "d.csv").write_bytes(b"path,label\n\xff\xfe\xff,x\n")
    assert "UTF-8" in message_of(tmp_path / "d.csv", workspace)


def test_train_csv_beside_class_folders_must_be_decided(tmp_path: Path, workspace: Workspace) -> None:
    root = write_split_folders(tmp_path / "d")
    (root / "train.csv").write_text("path,label\ntrain/cat/0000.png,x\ntrain/cat/0001.png,x\ntrain/dog/0001.png,y\n")
    assert "say which counts" in message_of(root, workspace)
    assert index_of(root, workspace, layout="folder").classes == ("cat", "dog")
    assert index_of(root, workspace, layout="csv").classes == ("x", "y")


@given(st.lists(st.sampled_from(["..", ".", "a", "etc", "", "/"]), max_size=8).map("/".join))
def test_no_name_leads_out_of_the_images_folder(name: str) -> None:
    path = inside(Path("/data/images"), name)
    if path is not None:
        assert os.path.normpath(f"/data/images/{path}").startswith("/data/images/")
        assert not path.startswith(("/", ".."))


def test_long_lists_are_cut_with_a_count() -> None:
    assert enumerated(["a", "b"]) == "  a\n  b"
    assert enumerated([str(number) for number in range(1200)], limit=2) == "  0\n  1\n  and 1,198 more"


def test_digits_are_written_once_and_indexed(workspace: Workspace) -> None:
    index = build_index(DatasetConfig(builtin="digits"), workspace)
    assert index.classes == tuple("0123456789")
    assert len(index.paths) == 1797
    first = workspace.builtin / "digits" / index.paths[0]
    written = first.stat().st_mtime_ns
    again = build_index(DatasetConfig(builtin="digits"), workspace)
    assert first.stat().st_mtime_ns == written
    assert list(again.paths) == list(index.paths)
    assert all((again.splits[split] == index.splits[split]).all() for split in index.splits)


@pytest.mark.parametrize("other", ["test", "Val"])
def test_splits_that_hold_images_in_no_class_folders_are_not_taken_for_classes(
    tmp_path: Path, workspace: Workspace, other: str
) -> None:
    root = write_class_folders(tmp_path / "d", {"train": 4, other: 4})
    with pytest.raises(DatasetError, match=rf"{other}.*train.*hold images directly.*dataset\.layout: folder"):
        index_of(root, workspace)
    assert set(index_of(root, workspace, layout="folder").classes) == {"train", other}


def test_a_tree_with_a_test_split_alone_says_what_to_name(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"test/a": 4, "test/b": 4})
    with pytest.raises(DatasetError, match=f"name one tree of class folders, such as {root / 'test'}"):
        index_of(root, workspace)


def test_a_list_of_what_is_excluded_in_the_folder_of_nobody_is_one_clear_line(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = write_class_folders(tmp_path / "d", {"a": 4, "b": 4})
    with pytest.raises(DatasetError, match=r"~nosuchuser/list\.csv: cannot be looked up .*correct dataset\.exclude"):
        index_of(root, workspace, exclude="~nosuchuser/list.csv")

"""Images that are changed, added or removed while a sweep runs: found at the start of the next trial, and named."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.dataset import DatasetConfig
from sweeper.data import steady
from sweeper.data.image_guard import ImageGuard, ImagesAtStart
from sweeper.data.prepare import prepare, prepare_images
from sweeper.errors import OtherImages
from sweeper.paths import Workspace
from tests.functional.program import environment, sweeper
from tests.pictures import write_picture, write_split_folders

pytestmark = pytest.mark.sweeps


def guarded(root: Path, **options: object) -> ImageGuard:
    """Return a guard of the images in `root`/d as they are now."""
    dataset = DatasetConfig(path=str(root / "d"), **options)
    ImagesAtStart.of(prepare(dataset, 8, Workspace(root))).write(root / "images.npz")
    guard = ImageGuard(root / "images.npz", dataset, Workspace(root))
    guard.check()
    guard._next = 0.0
    return guard


def swap(root: Path) -> None:
    first, second = root / "d/train/cat/0001.png", root / "d/train/dog/0001.png"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "changed": (lambda root: write_picture(root / "d/train/cat/0000.png", 99), ["changed: train/cat/0000.png"]),
    "swapped": (swap, ["changed: train/cat/0001.png", "changed: train/dog/0001.png"]),
    "removed": (lambda root: (root / "d/val/dog/0002.png").unlink(), ["gone: val/dog/0002.png"]),
    "added": (lambda root: write_picture(root / "d/train/dog/new.png", 98), ["new: train/dog/new.png"]),
    "emptied": (lambda root: (root / "d/val/cat/0000.png").write_bytes(b""), ["changed: val/cat/0000.png"]),
    "renamed": (
        lambda root: (root / "d/train/cat/0000.png").rename(root / "d/train/cat/zero.png"),
        ["gone: train/cat/0000.png", "new: train/cat/zero.png"],
    ),
    "moved to another class": (
        lambda root: (root / "d/train/cat/0000.png").rename(root / "d/train/dog/9.png"),
        ["gone: train/cat/0000.png", "new: train/dog/9.png"],
    ),
    "all gone": (lambda root: shutil.rmtree(root / "d"), ["no such file or folder"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named(tmp_path: Path, change: str) -> None:
    write_split_folders(tmp_path / "d")
    guard = guarded(tmp_path)
    make, expected = CHANGES[change]
    make(tmp_path)
    with pytest.raises(OtherImages, match="the images have changed since the study began") as told:
        guard.check()
    assert all(line in str(told.value) for line in expected)
    assert str(told.value).count("\n  ") == len(expected)


def touch(root: Path) -> None:
    os.utime(root / "d/train/cat/0000.png", ns=(1, 1))


def link(root: Path) -> None:
    (root / "elsewhere.png").hardlink_to(root / "d/train/cat/0000.png")


def copy_back(root: Path) -> None:
    shutil.copy(root / "d/train/cat/0000.png", root / "kept.png")
    (root / "d/train/cat/0000.png").unlink()
    shutil.copy(root / "kept.png", root / "d/train/cat/0000.png")


def write_notes(root: Path) -> None:
    (root / "d/train/cat/notes.txt").write_text("no image")


@pytest.mark.parametrize("harmless", [touch, link, copy_back, write_notes])
def test_the_same_bytes_are_the_same_image(tmp_path: Path, harmless: Callable[[Path], None]) -> None:
    write_split_folders(tmp_path / "d")
    guard = guarded(tmp_path)
    harmless(tmp_path)
    guard.check()


def test_a_list_that_changes_is_named_and_what_it_does_not_name_does_not_matter(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d/im")
    names = sorted(str(path.relative_to(tmp_path / "d")) for path in (tmp_path / "d/im").rglob("*.png"))
    for split, part in (("train", "train"), ("val", "val")):
        lines = [f"{name},{Path(name).parent.name}" for name in names if f"/{part}/" in name]
        (tmp_path / f"d/{split}.csv").write_text("\n".join(["path,label", *lines]))
    guard = guarded(tmp_path)
    write_picture(tmp_path / "d/im/train/cat/new.png", 77)
    guard.check()
    guard._next = 0.0
    text = (tmp_path / "d/val.csv").read_text()
    (tmp_path / "d/val.csv").write_text(text.replace(",cat", ",dog", 1))
    with pytest.raises(OtherImages, match=r"changed: .*val\.csv"):
        guard.check()


def test_what_was_loaded_is_held_against_what_the_study_began_with(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    guard = guarded(tmp_path)
    write_picture(tmp_path / "d/train/cat/0000.png", 99)
    digest = prepare_images(DatasetConfig(path=str(tmp_path / "d")), 8, Workspace(tmp_path)).digest
    with pytest.raises(OtherImages, match="train/cat/0000"):
        guard.require(digest)


def test_files_that_a_disk_does_not_give_now_are_no_change_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split_folders(tmp_path / "d")
    guard, works = guarded(tmp_path), os.stat

    def away(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith("0001.png"):
            raise OSError(errno.EIO, "Input/output error")
        return works(path, *args, **options)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(steady, "WAITS_S", ())
        meanwhile.setattr(os, "stat", away)
        with pytest.raises(OtherImages, match=r"the file cannot be read now \(Input/output error\)"):
            guard.check()
    guard.check()


def test_looking_takes_a_tenth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split_folders(tmp_path / "d")
    guard = guarded(tmp_path)
    clock = iter([100.0, 102.0, 121.0, 123.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    guard.check()
    assert guard._next == 122.0
    write_picture(tmp_path / "d/train/cat/0000.png", 99)
    guard.check()
    with pytest.raises(OtherImages):
        guard.check()


def test_without_a_record_of_the_start_nothing_is_held_against_it(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / "images.npz").write_bytes(b"damaged")
    guard = ImageGuard(tmp_path / "images.npz", DatasetConfig(path=str(tmp_path / "d")), Workspace(tmp_path))
    guard.check()
    guard.require("0" * 32)


SPACE = """study: s
dataset: {path: d}
budget: {trials: 60, epochs: 2}
device: cpu
search: {backbone: test_resnet, image_size: 8, batch_size: 8, optimizer: {name: adamw, lr: {float: [0.001, 0.1]}}}
"""


def test_a_sweep_stops_and_goes_on_when_the_images_are_back(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / "space.yaml").write_text(SPACE)
    changed = tmp_path / "d/train/cat/0000.png"
    before = changed.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 1 complete"):
            break
    write_picture(changed, 99)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 4, said
    assert "the images have changed since the study began" in said
    assert "changed: train/cat/0000.png" in said
    assert "Traceback" not in said
    status = sweeper("status", "s", folder=tmp_path).stdout
    assert "running" not in status
    assert "failed" not in status
    again = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert again.returncode == 4
    assert "have changed since the study s began" in again.stderr
    changed.write_bytes(before)
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(line.startswith("trial ") and " complete" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)

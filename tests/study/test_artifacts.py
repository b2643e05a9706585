"""What a trial has left is taken from its folder, or from MLflow when the driver has just delivered it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sweeper.errors import DiskError
from sweeper.paths import TrialFolder
from sweeper.study.artifacts import _taken


@pytest.fixture
def left(tmp_path: Path) -> TrialFolder:
    folder = TrialFolder(tmp_path / "trial-0003")
    for name in ("weights/epoch-0001.safetensors", "predictions/best.npz"):
        path = folder.artifacts / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    folder.outcome.write_text("{}")
    return folder


@pytest.mark.parametrize("links", [True, False])
def test_what_is_taken_stays_when_the_driver_removes_it(
    left: TrialFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def on_another_disk(*_: object) -> None:
        raise OSError("cross-device link")

    if not links:
        monkeypatch.setattr(os, "link", on_another_disk)
    for _ in range(2):  # it may be there from before
        assert _taken(left, tmp_path / "into", ("weights", "confusion"))
    shutil.rmtree(left.path)
    found = [path for path in (tmp_path / "into").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in found] == [b"weights/epoch-0001.safetensors"]


def test_nothing_is_left_of_what_is_removed_meanwhile(
    left: TrialFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def delivered(source: Path, target: Path) -> None:
        link(source, target)
        shutil.rmtree(left.path)

    monkeypatch.setattr(os, "link", delivered)
    assert not _taken(left, tmp_path / "into", ("weights", "predictions"))
    assert not list((tmp_path / "into").rglob("*.*"))


def test_a_full_disk_is_called_so(left: TrialFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DiskError, match="cannot be written: No space left on device"):
        _taken(left, tmp_path / "into", ("weights",))

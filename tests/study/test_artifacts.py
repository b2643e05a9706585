"""What a trial has left is taken from its folder, or from MLflow when the driver has just delivered it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.study.artifacts import _taken


@pytest.fixture
def left(tmp_path: Path) -> Path:
    for name in ("weights/epoch-0001.safetensors", "predictions/best.npz"):
        path = tmp_path / "artifacts" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    return tmp_path / "artifacts"


@pytest.mark.parametrize("links", [True, False])
def test_what_is_taken_stays_when_the_driver_removes_it(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def on_another_disk(*_: object) -> None:
        raise OSError("cross-device link")

    if not links:
        monkeypatch.setattr(os, "link", on_another_disk)
    assert _taken(left, tmp_path / "into", ("weights",))
    (left / "weights/epoch-0001.safetensors").unlink()
    found = [path for path in (tmp_path / "into").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in found] == [b"weights/epoch-0001.safetensors"]


def test_nothing_is_left_of_what_could_not_be_taken_whole(left: Path, tmp_path: Path) -> None:
    assert not _taken(left, tmp_path / "into", ("weights", "confusion"))
    assert not list((tmp_path / "into").rglob("*.*"))

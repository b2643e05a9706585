"""What a worker computes or downloads before its first epoch is followed by the file that it writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.paths import Workspace
from sweeper.study.work_underway import FEATURES, WEIGHTS, features_underway, watching_work, weights_underway

ROWS, WIDTH, PART = 4096, 256, 1024


def test_what_is_written_is_counted_while_it_is_written_and_not_afterwards(tmp_path: Path) -> None:
    cache, seen = FeatureCache(tmp_path), list[tuple[int, int] | None]()

    def parts() -> Iterator[Features]:
        for _ in range(ROWS // PART):
            yield np.zeros((PART, WIDTH), dtype=np.float32)
            seen.append(features_underway(tmp_path))

    assert features_underway(tmp_path) is None
    cache.open(FeatureKey.of({"x": 1}, ROWS, WIDTH), lambda _: parts())
    assert [one for one in seen if one] == [(PART * done, ROWS) for done in range(1, ROWS // PART + 1)]
    assert features_underway(tmp_path) is None


def test_a_file_that_a_killed_worker_has_left_is_not_followed(tmp_path: Path) -> None:
    left = tmp_path / "features.npy.part"
    with left.open("wb") as file:
        np.save(file, np.zeros((8, 4), dtype=np.float32))
    assert features_underway(tmp_path) == (8, 8)
    os.utime(left, (0, 0))
    assert features_underway(tmp_path) is None
    left.write_bytes(b"something else")
    assert features_underway(tmp_path) is None


def test_the_end_is_told_once_the_file_is_whole(tmp_path: Path) -> None:
    workspace, ended = Workspace(tmp_path), threading.Event()
    workspace.features.mkdir(parents=True)
    part = workspace.features / "features.npy.part"
    with part.open("wb") as file:
        np.save(file, np.zeros((8, 4), dtype=np.float32)[:6])
    told = list[tuple[str, int, int]]()

    def tell(what: str, done: int, total: int) -> None:
        if not told:
            part.unlink()
        told.append((what, done, total))
        if len(told) > 1:
            ended.set()

    with watching_work(workspace, tell):
        assert ended.wait(60)
    assert told[:2] == [(FEATURES, 6, 6), (FEATURES, 6, 6)]


def test_weights_that_come_from_the_hub_are_counted_until_they_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = tmp_path / "models--timm--resnet18" / "blobs" / "abc.incomplete"
    coming.parent.mkdir(parents=True)
    coming.write_bytes(b"0" * 3_500_000)
    assert weights_underway(tmp_path) == (3, 0)
    monkeypatch.setattr("sweeper.study.work_underway.hub_cache", lambda: tmp_path)
    told, ended = list[tuple[str, int, int]](), threading.Event()

    def tell(what: str, done: int, total: int) -> None:
        if not told:
            coming.rename(coming.with_suffix(""))
        told.append((what, done, total))
        if len(told) > 1:
            ended.set()

    with watching_work(Workspace(tmp_path), tell):
        assert ended.wait(60)
    assert told[:2] == [(WEIGHTS, 3, 0), (WEIGHTS, 3, 3)]
    left = coming.parent / "old.incomplete"
    left.write_bytes(b"0")
    os.utime(left, (0, 0))
    assert weights_underway(tmp_path) is None

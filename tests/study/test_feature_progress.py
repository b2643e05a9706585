"""Features that a worker computes are followed by the file that it writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.paths import Workspace
from sweeper.study.feature_progress import features_underway, watching_features

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
    told = list[tuple[int, int]]()

    def tell(done: int, total: int) -> None:
        if not told:
            part.unlink()
        told.append((done, total))
        if len(told) > 1:
            ended.set()

    with watching_features(workspace, tell):
        assert ended.wait(60)
    assert told[:2] == [(6, 6), (6, 6)]

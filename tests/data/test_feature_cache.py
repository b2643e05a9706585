from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweeper import files
from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.files import file_lock

NUMBERS = np.arange(12, dtype=np.float32).reshape(4, 3)
KEY = FeatureKey.of({"backbone": "x"}, 4, 3)


def halves(_: FeatureKey) -> Iterator[Features]:
    yield NUMBERS[:2]
    yield NUMBERS[2:]


def test_each_part_that_is_computed_is_a_sign_of_life(tmp_path: Path) -> None:
    signs: list[int] = []
    assert np.array_equal(FeatureCache(tmp_path).open(KEY, halves, lambda: signs.append(1)), NUMBERS)
    assert len(signs) == 2


def test_who_waits_for_another_process_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WAIT_S", 0.01)
    seen_twice, signs = threading.Event(), list[int]()

    def sign() -> None:
        signs.append(1)
        if len(signs) == 2:
            seen_twice.set()

    found: list[Features] = []
    waiting = threading.Thread(target=lambda: found.append(FeatureCache(tmp_path).open(KEY, halves, sign)))
    with file_lock(tmp_path / f"{KEY.name}.lock", blocking=True):
        waiting.start()
        assert seen_twice.wait(30)
        assert not found
    waiting.join(30)
    assert np.array_equal(found[0], NUMBERS)

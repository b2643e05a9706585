"""`sweeper init` without arguments: three questions in a terminal, an error with the next step in a pipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeper.config.loading import load_sweep
from tests.functional.program import sweeper
from tests.functional.terminal import answered

pytestmark = pytest.mark.sweeps


def class_folders(root: Path) -> None:
    drawn = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = drawn.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def test_a_terminal_asks_for_folder_time_and_file(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    answers = [
        ("Where are the images?", "fotos"),
        ("Where are the images?", "photos"),
        ("How long may the study take?", "a while"),
        ("How long may the study take?", "30m"),
        ("Write the search space to", "mine.yaml"),
    ]
    code, screen = answered(["init"], answers, tmp_path)
    assert code == 0, screen
    assert f"nothing is at fotos; relative paths begin in {tmp_path}" in screen
    assert "should be seconds or a duration like 45m" in screen
    assert "next: sweeper run mine.yaml" in screen
    assert load_sweep(tmp_path / "mine.yaml").budget.time == 1800


def test_what_was_given_is_not_asked_and_what_is_usual_needs_no_answer(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    answers = [("Where are the images?", "photos"), ("Write the search space to [space.yaml]", "")]
    code, screen = answered(["init", "--hours", "1"], answers, tmp_path)
    assert code == 0, screen
    assert load_sweep(tmp_path / "space.yaml").budget.time == 3600


def test_in_a_pipe_the_next_step_is_told(tmp_path: Path) -> None:
    ran = sweeper("init", folder=tmp_path)
    assert ran.returncode == 2
    assert "name a folder of images, as in `sweeper init photos`" in ran.stderr
    assert not list(tmp_path.glob("*.yaml"))

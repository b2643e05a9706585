"""Pictures can be drawn for few classes and for many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeper.config.task import METRICS
from sweeper.results import EpochMetrics
from sweeper.scores.confusion import read_confusion, write_confusion
from sweeper.tracking.confusion_picture import draw_confusion
from sweeper.tracking.curves_picture import PANELS, CurvesPicture


@pytest.mark.parametrize("count", [2, 10, 200])
def test_a_confusion_matrix_is_drawn_large_enough_to_read_its_labels(tmp_path: Path, count: int) -> None:
    confusion = np.random.default_rng(0).integers(0, 5, (count, count))
    draw_confusion(confusion, [f"class {number}" for number in range(count)], "trial 1", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) >= count * 15  # pixels for each label


def test_a_confusion_matrix_without_a_hit_is_drawn(tmp_path: Path) -> None:
    draw_confusion(np.zeros((3, 3), dtype=np.int64), ["a", "b", "$c$"], "empty", tmp_path / "c.png")
    assert (tmp_path / "c.png").exists()


def test_confusion_numbers_survive_the_file_with_any_class_name(tmp_path: Path) -> None:
    confusion = np.arange(9).reshape(3, 3)
    names = ["a,b", 'say "x"', "zwölf\n"]
    write_confusion(tmp_path / "c.csv", confusion, names)
    read, classes = read_confusion(tmp_path / "c.csv")
    assert (read == confusion).all()
    assert classes == names


def test_curves_are_drawn_for_a_single_epoch(tmp_path: Path) -> None:
    history = [EpochMetrics(epoch=1, values={"val/loss": 1.0}, timestamp_ms=0)]
    CurvesPicture("classification").draw(history, 1, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_curves_with_gaps_and_numbers_that_are_none_are_drawn(tmp_path: Path) -> None:
    values = [{"val/loss": float("nan")}, {"val/loss": 2.0, "lr": 0.1}, {}]
    history = [EpochMetrics(epoch=n, values=point, timestamp_ms=0) for n, point in enumerate(values, 1)]
    CurvesPicture("classification").draw(history, None, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert len(picture.getcolors(100_000) or []) > 3


@pytest.mark.parametrize("earlier_best", [None, 3])
def test_curves_hold_nothing_of_the_trial_that_was_drawn_before(tmp_path: Path, earlier_best: int | None) -> None:
    earlier = [EpochMetrics(epoch=n, values={"val/loss": 50.0, "lr": 1.0 / n}, timestamp_ms=0) for n in range(1, 9)]
    history = [EpochMetrics(epoch=n, values={"val/loss": 1.0 / n}, timestamp_ms=0) for n in (1, 2)]
    CurvesPicture("classification").draw(history, 2, tmp_path / "fresh.png")
    used = CurvesPicture("classification")
    used.draw(earlier, earlier_best, tmp_path / "earlier.png")
    used.draw(history, 2, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "fresh.png").read_bytes()
    assert (tmp_path / "earlier.png").read_bytes() != (tmp_path / "fresh.png").read_bytes()


@pytest.mark.parametrize("task", METRICS)
def test_the_picture_of_each_task_shows_what_it_measures(tmp_path: Path, task: str) -> None:
    shown = {metric for panel in PANELS[task].values() for metric in panel}
    assert shown - {"lr"} <= set(METRICS[task])
    assert {metric for metric in METRICS[task] if metric.startswith("val/")} <= shown
    CurvesPicture(task).draw(
        [EpochMetrics(epoch=1, values=dict.fromkeys(shown, 0.5), timestamp_ms=0)], 1, tmp_path / "curves.png"
    )

"""Looks at the test split are kept in their order, and each is recorded with files of its own."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.confirm import looking
from sweeper.confirm.test_split import Look, keep_look, looks
from sweeper.finished.looks import digests
from sweeper.paths import Workspace
from tests.standings.test_ranking import row


def look(trial: int, when_ms: int) -> Look:
    return Look(trial=trial, metrics={"accuracy": 0.5}, images=9, digest="x", when_ms=when_ms, forced=when_ms > 1)


def test_looks_stay_in_their_order_when_an_earlier_one_is_kept_again(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s")
    for when_ms in (1, 2, 3):
        keep_look(folder, look(0, when_ms))
    keep_look(folder, look(0, 1).model_copy(update={"recorded": True}))
    assert [(kept.when_ms, kept.recorded) for kept in looks(folder)] == [(1, True), (2, False), (3, False)]


def test_files_of_a_later_look_are_not_recorded_with_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, recorded = Workspace(tmp_path), dict[float, list[str]]()
    evaluation = workspace.evaluation("s", "test")
    evaluation.path.mkdir(parents=True)
    (evaluation.path / "confusion.csv").write_text("of the latest look")
    written = digests(workspace, [evaluation.path / "confusion.csv"])
    for number, files in enumerate(({"gone.csv": "x"}, {**written, "edited.csv": "x"}), 1):
        (tmp_path / "edited.csv").write_text("since then")
        keep_look(workspace.study("s"), look(number - 1, number).model_copy(update={"files": files}))

    def note(_store: Any, _run: str, _values: Any, _epoch: int, files: list[Path], _digest: str, when_ms: int) -> None:
        recorded[when_ms] = [file.name for file in files]

    mlflow = SimpleNamespace(set_tags=lambda *_: None)
    monkeypatch.setattr(looking, "find_run", lambda *_: (mlflow, "run"))
    monkeypatch.setattr(looking, "record_test_look", note)
    store: Any = SimpleNamespace(sweep=SimpleNamespace(study="s"), rows=lambda: [row(0, 0.5), row(1, 0.6)])
    looking.record_looks(workspace, store, None)
    assert recorded == {1: [], 2: ["confusion.csv"]}
    assert all(kept.recorded for kept in looks(workspace.study("s")))


def test_a_look_whose_metric_is_no_number_is_kept(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s")
    keep_look(folder, look(0, 1).model_copy(update={"metrics": {"loss": float("nan")}}))
    assert math.isnan(looks(folder)[0].metrics["loss"])
    assert Look(**{**dict(look(0, 2)), "metrics": {"loss": float("inf")}}).metrics == {"loss": float("inf")}

"""What every run of a study records."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.errors import StudyChanged
from sweeper.paths import Workspace
from sweeper.study.card import study_card

SWEEP = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
DIGITS = DatasetCard("digits", "d1", 8, ("0", "1"), {"train": 2}, {"train": (1, 1)})


def test_a_study_records_when_it_began_however_often_it_is_continued(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s")
    first = study_card(SWEEP, DIGITS, folder, "sqlite:///a.db")
    again = study_card(SWEEP, DIGITS, folder, "sqlite:///b.db")
    assert again == first.model_copy(update={"tracking_uri": "sqlite:///b.db"})


def test_a_study_is_not_continued_on_other_images(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s")
    study_card(SWEEP, DIGITS, folder, "sqlite:///a.db")
    with pytest.raises(StudyChanged, match=r"images of digits have changed .*digest d2, then d1.*another name"):
        study_card(SWEEP, replace(DIGITS, digest="d2"), folder, "sqlite:///a.db")


def test_the_runs_name_the_commit_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert "mlflow.source.git.commit" not in study_card(SWEEP, DIGITS, Workspace(tmp_path).study("s"), "x").tags
    by = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), (*by, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert study_card(SWEEP, DIGITS, Workspace(tmp_path).study("t"), "x").tags["mlflow.source.git.commit"] == head

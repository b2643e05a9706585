"""What every run of a study records."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.errors import StudyChanged
from sweeper.paths import Workspace
from sweeper.results import PinnedTeacher, PinnedWeights
from sweeper.study.card import read_card, study_card
from sweeper.tracking.tags import ENVIRONMENT_TAG, MODEL_FILES_TAG, PRETRAINED_TAG, SOURCE_TAGS, TEACHER_TAG

SWEEP = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
SOURCE_TAG = f"{SOURCE_TAGS}trial"
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


def test_runs_that_begin_after_a_start_elsewhere_bear_what_that_start_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Workspace(tmp_path).study("s")
    first = study_card(SWEEP, DIGITS, folder, "x", lineage={MODEL_FILES_TAG: "a", SOURCE_TAG: "t/1"})
    monkeypatch.setattr("sweeper.study.card.environment", lambda: "another machine")
    weights, teacher = PinnedWeights(digest="w"), PinnedTeacher(digest="t", networks=(), classes=())
    more = {"file": weights}, {"export": teacher}
    again = study_card(SWEEP, DIGITS, folder, "x", *more, lineage={MODEL_FILES_TAG: "a, b", SOURCE_TAG: "t/2"})
    changed = {
        ENVIRONMENT_TAG: "another machine",
        PRETRAINED_TAG: "file, digest w",
        TEACHER_TAG: "export, digest t",
        MODEL_FILES_TAG: "a, b",
    }
    assert again.tags == {**first.tags, **changed}
    assert again.tags[SOURCE_TAG] == "t/1"
    assert study_card(SWEEP, DIGITS, folder, "x").tags == again.tags  # of a confirmation
    known = read_card(folder)
    assert known is not None
    assert known.tags_at(first.start_ms) == first.tags
    assert known.tags_at(int(time.time() * 1000) + 1) == again.tags

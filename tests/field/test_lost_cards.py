"""A study whose card is lost keeps to what it began with: its storage has a copy of the card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.errors import StudyChanged
from sweeper.paths import Workspace
from sweeper.study.card import read_card
from sweeper.study.recorded import tracking_uri_for
from tests.field.folders import Here, confirm
from tests.pictures import write_picture

AWAY = "http://127.0.0.1:9"
OTHER_IMAGES = r"images of images have changed since the study s began"


def without_its_files(here: Here) -> Here:
    shutil.rmtree(here.root / ".sweeper")
    return here


def test_a_study_whose_folder_is_lost_is_not_continued_on_other_images(here: Here) -> None:
    here.run(1)
    before = read_card(here.folder)
    write_picture(without_its_files(here).root / "images/train/cat/new.png", 98)
    with pytest.raises(StudyChanged, match=OTHER_IMAGES):
        here.run(2)
    (here.root / "images/train/cat/new.png").unlink()
    assert len(here.run(2).rows) == 2
    again = read_card(here.folder)
    assert before is not None
    assert again is not None
    assert again.start_ms == before.start_ms


def test_a_study_that_was_adopted_is_not_continued_on_other_images(tmp_path: Path, created: Path) -> None:
    anna, ben = (Here.made(tmp_path / name, created) for name in ("anna", "ben"))
    anna.run(1)
    write_picture(ben.root / "images/train/cat/new.png", 98)
    ben.adopt(storage=anna.storage)
    with pytest.raises(StudyChanged, match=OTHER_IMAGES):
        ben.run(2, storage=anna.storage)
    assert len(anna.store.rows()) == 1


def test_a_study_whose_folder_is_lost_is_not_continued_from_other_weights(here: Here) -> None:
    weights = here.root / "weights.safetensors"
    weights.write_text("a")
    search = {"backbone": "r", "image_size": 8, "weight_decay": {"float": [0, 1]}, "pretrained": str(weights)}
    here.run(1, search=search)
    without_its_files(here)
    weights.write_text("b")
    with pytest.raises(StudyChanged, match=r"the weights of \S+ have changed since the study s began"):
        here.run(2, search=search)


def test_a_study_whose_folder_is_lost_does_not_mix_trained_trials_with_simulated_ones(here: Here) -> None:
    here.run(1)
    without_its_files(here)
    with pytest.raises(StudyChanged, match="were trained, and others that are simulated cannot be compared"):
        here.run(2, engine="simulate")


def test_a_study_whose_folder_is_lost_is_not_confirmed_on_other_images(here: Here) -> None:
    here.run(1)
    write_picture(without_its_files(here).root / "images/train/cat/new.png", 98)
    with pytest.raises(StudyChanged, match=OTHER_IMAGES):
        confirm(here, top=1)


def test_a_study_whose_folder_is_lost_is_looked_for_where_it_was_recorded(here: Here) -> None:
    here.run(1, tracking=AWAY)
    without_its_files(here)
    assert tracking_uri_for(Workspace(here.root), here.store, None) == AWAY
    assert tracking_uri_for(Workspace(here.root), here.store, "http://other") == "http://other"


def test_the_database_of_another_folder_is_not_taken_for_that_of_this_one(
    tmp_path: Path, created: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = (Here.made(tmp_path / name, created) for name in ("anna", "ben"))
    anna.run(1)
    (ben.root / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    assert tracking_uri_for(Workspace(ben.root), anna.store, None) == AWAY

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.paths import Workspace
from sweeper.report.page import study_page
from sweeper.search.study_store import StudyStore
from tests.report.studies import sweep_of, write_images, write_study

CLASSES = ["cat", "dog", "</script><img src=x onerror=alert(1)>".replace("/", "\u2215"), "ünicode <b>"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, created: Path) -> Workspace:
    """A working directory with images and an empty MLflow database."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(created, folder / created.name)
    return Workspace(folder)


@pytest.fixture(scope="module")
def store(place: Workspace) -> StudyStore:
    """A study of 12 trials on 4 classes; some of their names are markup."""
    paths = write_images(place.root / "images", CLASSES, of_each=6)
    return write_study(place, sweep_of(), paths, CLASSES, trials=12)


@pytest.fixture(scope="module")
def page(place: Workspace, store: StudyStore) -> str:
    return study_page(place, store, f"sqlite:///{place.mlflow_database}", hourly_price=2.0)

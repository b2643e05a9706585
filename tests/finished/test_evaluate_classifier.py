from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import DatasetError, StudyError
from sweeper.finished.evaluate import evaluate_trial, images_for_trial
from sweeper.finished.evaluate_classifier import SplitReport
from sweeper.finished.tasks import CLASSIFIERS
from sweeper.paths import EvaluationFolder, Workspace
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.scores.metrics import scores
from sweeper.search.study_store import StudyStore
from sweeper.training.evaluate import Evaluation
from tests.pictures import write_split_folders

CONFIG = TrialConfig(backbone="test_resnet", image_size=8)
ROW = TrialRow(
    number=0,
    state=TrialState.COMPLETE,
    value=0.5,
    best_epoch=1,
    epochs=1,
    seconds=1,
    ended_ms=1,
    params={},
    config_json=CONFIG.model_dump_json(),
    reason=None,
    outcome=TrialOutcome(state=TrialState.COMPLETE, best_epoch=1, best_value=0.5),
)


def test_a_study_without_a_test_split_is_answered_with_what_to_do(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    space = {"study": "s", "dataset": {"path": str(tmp_path / "d")}, "search": {"backbone": "test_resnet"}}
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", SweepConfig.model_validate(space))
    space_says = r"no test split, only train, val; "
    with pytest.raises(DatasetError, match=space_says + r"name labelled images .* --data"):
        images_for_trial(Workspace(tmp_path), store, ROW, "test", CLASSIFIERS, data=None, tracking_uri=None)
    with pytest.raises(DatasetError, match=space_says + "set dataset.test_fraction in a new study"):
        evaluate_trial(
            Workspace(tmp_path), store, ROW, "test", CLASSIFIERS, device=torch.device("cpu"), tracking_uri=None
        )


def test_a_trial_without_weights_is_refused_before_an_image_is_looked_for(tmp_path: Path) -> None:
    space = {"study": "s", "dataset": {"path": "none"}, "search": {"backbone": "test_resnet"}}
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", SweepConfig.model_validate(space))
    running = ROW.model_copy(update={"state": TrialState.RUNNING, "outcome": None})
    with pytest.raises(StudyError, match="trial 0 of s is running and has no weights; name another"):
        images_for_trial(Workspace(tmp_path), store, running, "test", CLASSIFIERS, data=None, tracking_uri=None)


def test_the_files_of_an_evaluation_hold_each_class(tmp_path: Path) -> None:
    confusion = np.array([[3, 1], [0, 4]])
    evaluation = Evaluation({"accuracy": 0.875}, confusion)
    classes = ("a,b", "größe")
    report = SplitReport("s", ROW, "test", "d", "0" * 32, classes, classes, evaluation, scores(confusion))
    files = EvaluationFolder(tmp_path)
    assert report.write(files) == [files.confusion, files.picture, files.classes, files.scores]
    rows = list(csv.DictReader(files.classes.read_text().splitlines()))
    assert rows[0] == {"class": "a,b", "precision": "1.0", "recall": "0.75", "f1": f"{6 / 7}", "images": "4"}
    assert report.images == 8

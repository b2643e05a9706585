"""Finished studies without training: trials in the storage, and in their folders what a worker would have left."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState as OptunaState

from sweeper.config.sweep import SweepConfig
from sweeper.files import write_whole
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialState, write_history
from sweeper.scores.confusion import write_confusion
from sweeper.scores.predictions import MOST_CLASSES, Predictions, image_ids, write_predictions
from sweeper.search.stored_trial import CONFIG, OUTCOME
from sweeper.search.study_store import StudyStore
from sweeper.training.progress import Progress
from tests.pictures import write_class_folders

RATES = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
OPTIMIZERS = optuna.distributions.CategoricalDistribution(["adamw", "sgd"])
BEGAN = datetime(2026, 1, 5, 8)
ENDINGS = {TrialState.COMPLETE: OptunaState.COMPLETE, TrialState.PRUNED: OptunaState.PRUNED}


def write_images(root: Path, classes: list[str], of_each: int) -> list[str]:
    """Write class folders in train/ and val/; return the validation images' paths, in order."""
    write_class_folders(
        root, {f"train/{name}": 1 for name in classes} | {f"val/{name}": of_each for name in classes}, 8
    )
    return [f"val/{name}/{number:04d}.png" for name in sorted(classes) for number in range(of_each)]


def sweep_of(study: str = "s", trials: int = 12, data: str = "images") -> SweepConfig:
    content: dict[str, Any] = {
        "study": study,
        "dataset": {"path": data},
        "budget": {"trials": trials, "epochs": 5},
        "search": {
            "backbone": "test_resnet",
            "image_size": 8,
            "optimizer": {"choice": [{"name": "adamw", "lr": {"float": [1e-4, 1.0], "log": True}}, {"name": "sgd"}]},
        },
    }
    return SweepConfig.model_validate(content)


def write_study(
    workspace: Workspace, sweep: SweepConfig, paths: list[str], classes: list[str], trials: int
) -> StudyStore:
    """Store a study whose every third trial was pruned, with predictions on these images."""
    url = f"sqlite:///{workspace.optuna_database}"
    store = StudyStore.create_or_load(url, sweep)
    random = np.random.default_rng(0)
    labels = np.array([sorted(classes).index(path.split("/")[1]) for path in paths])
    made = []
    for number in range(trials):
        pruned = number % 3 == 2
        predictions = _predictions(random, image_ids(paths), labels, len(classes), skill=0.3 + 0.5 * random.random())
        outcome = _write_trial(workspace.study(sweep.study).trial(number), predictions, sorted(classes), pruned)
        made.append(_frozen(number, outcome, float(10 ** random.uniform(-4, 0)), number % 2))
    optuna.load_study(study_name=sweep.study, storage=url).add_trials(made)
    store.close()
    return StudyStore.load(url, sweep.study)


def _predictions(random: np.random.Generator, images: Any, labels: Any, count: int, skill: float) -> Predictions:
    """Draw predictions that are right with probability `skill`, and else lean to the next class."""
    wrong = (labels + 1 + random.geometric(0.5, len(labels)) % max(count - 1, 1)) % count
    first = np.where(random.random(len(labels)) < skill, labels, wrong)
    width = min(MOST_CLASSES, count)
    order = (first[:, None] + np.arange(width)) % count
    shares = np.sort(random.dirichlet(np.full(width, 0.3), len(labels)), axis=1)[:, ::-1].astype(np.float32)
    true = np.where(order == labels[:, None], shares, 0).sum(1)
    return Predictions(images, labels, order, shares, true.astype(np.float32))


def _write_trial(folder: TrialFolder, predictions: Predictions, classes: list[str], pruned: bool) -> TrialOutcome:
    epochs, accuracy = (2 if pruned else 5), float(predictions.right.mean())
    history = [
        EpochMetrics(
            epoch=epoch,
            values={"val/accuracy": accuracy * epoch / epochs, "val/loss": 2 / epoch, "train/loss": 1 / epoch},
            timestamp_ms=epoch,
        )
        for epoch in range(1, epochs + 1)
    ]
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    progress = Progress(history, best_epoch=epochs, best_value=accuracy, seconds=10.0 * epochs)
    outcome = progress.outcome(state)
    write_history(folder.history, progress.history)
    write_whole(folder.outcome, outcome.model_dump_json())
    write_predictions(folder.predictions_of(epochs), predictions)
    write_confusion(folder.confusion / "best.csv", predictions.confusion(len(classes)), classes)
    return outcome


def _frozen(number: int, outcome: TrialOutcome, rate: float, kind: int) -> optuna.trial.FrozenTrial:
    name = OPTIMIZERS.choices[kind]
    params: dict[str, Any] = {"optimizer": name, **({"optimizer.adamw.lr": rate} if kind == 0 else {})}
    trial = optuna.trial.create_trial(
        state=ENDINGS[outcome.state],
        value=outcome.best_value,
        params=params,
        distributions={key: RATES if key.endswith("lr") else OPTIMIZERS for key in params},
        user_attrs={
            OUTCOME: outcome.model_dump_json(),
            CONFIG: json.dumps(
                {"backbone": "test_resnet", "optimizer": {"name": name, **({"lr": rate} if kind == 0 else {})}}
            ),
        },
        intermediate_values={epoch: 0.1 * epoch for epoch in range(1, outcome.epochs + 1)},
    )
    trial.datetime_start = BEGAN + timedelta(minutes=number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=50)
    return trial

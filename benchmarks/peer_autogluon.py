"""The peer: AutoGluon's MultiModalPredictor with its search by ASHA, as its documentation shows it.

Run by `benchmarks.time_to_quality` in a Python of its own, since AutoGluon needs older libraries than sweeper. It is
given the same images, network, weights, ranges, number of trials and epochs; the rest is left to its defaults, among
them its greedy soup of the best epochs, its lower rates for the first layers and TrivialAugment. A pooled network
without a head comes from a folder, which is its way to take weights that are not fetched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor
from ray import tune

from benchmarks.peers import LEARNING_RATE, WEIGHT_DECAY, Task, task_of_arguments

PREDICTOR = Path("predictor")
"""Where it leaves what it has found, in the working folder."""


def main() -> None:
    task = task_of_arguments()
    predictor = MultiModalPredictor(
        label="label", problem_type="multiclass", eval_metric="accuracy", path=str(PREDICTOR.resolve()), verbosity=1
    )
    hyperparameters: dict[str, Any] = {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": str(backbone(task, Path("backbone").resolve())),
        "model.timm_image.image_size": task.size,
        "optim.max_epochs": task.epochs,
        "optim.lr": tune.loguniform(*LEARNING_RATE),
        "optim.weight_decay": tune.loguniform(*WEIGHT_DECAY),
        "env.batch_size": task.batch_size,
        "env.per_gpu_batch_size": task.batch_size,
    }
    predictor.fit(
        table(task.images / "train"),
        tuning_data=table(task.images / "val"),
        hyperparameters=hyperparameters,
        hyperparameter_tune_kwargs={"searcher": "bayes", "scheduler": "ASHA", "num_trials": task.trials},
        seed=task.seed,
    )


def backbone(task: Task, folder: Path) -> Path:
    """Write a network without its classifier as AutoGluon reads it, with the given weights or with random ones."""
    torch.manual_seed(task.seed)
    given: dict[str, Any] = {}
    if task.weights:
        given = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(task.weights)}}
    network = timm.create_model(task.backbone, num_classes=0, **given)
    folder.mkdir()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    about = {"architecture": task.backbone, "num_features": network.num_features}
    (folder / "config.json").write_text(json.dumps({**about, "pretrained_cfg": network.default_cfg}))
    return folder


def table(folder: Path) -> pd.DataFrame:
    """Return the paths of the images of a folder of class folders, and their classes."""
    files = sorted(folder.glob("*/*"))
    return pd.DataFrame({"image": [str(file) for file in files], "label": [file.parent.name for file in files]})


if __name__ == "__main__":
    main()

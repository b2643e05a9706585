"""The second peer: Ray Tune with OptunaSearch on a plain PyTorch loop.

Run by `benchmarks.sweep`, one trial at a time on all cores, and by `benchmarks.scaling`, two. The images are an
ImageFolder behind a DataLoader, metrics, confusion matrix and weights go to MLflow.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import LEARNING_RATE, STARTUP_TRIALS, WEIGHT_DECAY, Task, task_of_arguments

EXPERIMENT = "ray"


def main() -> None:
    task = task_of_arguments()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import mlflow
    import ray
    from ray import tune
    from ray.tune.schedulers import MedianStoppingRule
    from ray.tune.search.optuna import OptunaSearch

    here, cores = Path.cwd(), os.cpu_count() or 1
    mlflow.set_tracking_uri(f"sqlite:///{here / 'mlflow.db'}")
    mlflow.set_experiment(EXPERIMENT)
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train_one, task=task, root=str(here)), {"cpu": cores // task.at_once}),
        param_space={"lr": tune.loguniform(*LEARNING_RATE), "weight_decay": tune.loguniform(*WEIGHT_DECAY)},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=task.trials,
            search_alg=OptunaSearch(seed=task.seed),
            scheduler=MedianStoppingRule(min_samples_required=STARTUP_TRIALS),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(here / "ray_results"), verbose=0),
    )
    results = tuner.fit()
    if results.errors:
        raise SystemExit(str(results.errors[0]))
    ray.shutdown()


def train_one(config: dict[str, Any], task: Task, root: str) -> None:
    """Train one trial and report every epoch."""
    import mlflow
    import numpy as np
    import timm
    import torch
    from matplotlib.figure import Figure
    from ray import tune
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
    from torch.utils.data import DataLoader

    from benchmarks.peer_lightning import datasets

    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    train, val = datasets(task)
    options: dict[str, Any] = {"num_workers": task.loaders, "persistent_workers": task.loaders > 0}
    train_loader = DataLoader(train, task.batch_size, shuffle=True, **options)
    val_loader = DataLoader(val, task.batch_size, **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm.create_model(task.backbone, num_classes=len(train.classes))
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), config["lr"], weight_decay=config["weight_decay"], fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(config)
        for epoch in range(task.epochs):
            started, losses = time.perf_counter(), []
            model.train()
            for images, labels in train_loader:
                images = images.to(device, memory_format=torch.channels_last)
                loss = criterion(model(images), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            model.eval()
            with torch.inference_mode():
                found = [(model(images.to(device)).argmax(1).cpu(), labels) for images, labels in val_loader]
            predicted, true = (torch.cat(part).numpy() for part in zip(*found, strict=True))
            metrics = {"train_loss": float(np.mean(losses)), "val_accuracy": float((predicted == true).mean())}
            metrics["epoch_s"] = time.perf_counter() - started
            mlflow.log_metrics(metrics, step=epoch)
            if epoch == task.epochs - 1:
                figure = Figure(figsize=(8, 8))
                shown = ConfusionMatrixDisplay(confusion_matrix(true, predicted), display_labels=train.classes)
                shown.plot(ax=figure.subplots(), xticks_rotation="vertical")
                mlflow.log_figure(figure, "confusion.png")
                torch.save(model.state_dict(), f"{folder}/weights.pt")
                mlflow.log_artifact(f"{folder}/weights.pt", "weights")
            tune.report(metrics)


if __name__ == "__main__":
    main()

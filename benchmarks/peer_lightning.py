"""The peer: a sweep as people write it today with Optuna, Lightning, torchvision and MLflow.

Run by `benchmarks.sweep`. Written as a competent user would: the images are indexed once, loaders
keep their processes between epochs, nothing is printed, weights of the best epoch are kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import matplotlib as mpl
import numpy as np
import optuna
import timm
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from matplotlib import pyplot
from sklearn.metrics import ConfusionMatrixDisplay
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.peers import LEARNING_RATE, MEAN, PADDING, STD, WEIGHT_DECAY, Task, task_of_arguments

EXPERIMENT = "peer"
DATABASE = "mlflow.db"


def main() -> None:
    task = task_of_arguments()
    mpl.use("Agg")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(task.threads)
    study = optuna.create_study(
        storage="sqlite:///optuna.db",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=task.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=task.startup_trials),
    )
    train, val = datasets(task)
    study.optimize(lambda trial: objective(trial, task, train, val), n_trials=task.trials)


def datasets(task: Task) -> tuple[ImageFolder, ImageFolder]:
    normalize = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(*normalization(task.backbone, task.weights))]
    crop = [v2.RandomCrop(task.size, padding=PADDING, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    augmented = v2.Compose([v2.PILToTensor(), *crop, *normalize])
    plain = v2.Compose([v2.PILToTensor(), *normalize])
    return ImageFolder(task.images / "train", augmented), ImageFolder(task.images / "val", plain)


def normalization(backbone: str, weights: Path | None) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and the standard deviation that a network's weights expect."""
    known = timm.get_pretrained_cfg(backbone) if weights else None
    return (known.mean, known.std) if known else (MEAN, STD)


class Model(lightning.LightningModule):
    """A network with its optimizer and metrics."""

    def __init__(self, backbone: str, weights: Path | None, classes: int, lr: float, weight_decay: float):
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.weight_decay = lr, weight_decay
        begun: dict[str, Any] = (
            {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
        )
        net = timm.create_model(backbone, num_classes=classes, **begun)
        self.net = net.to(memory_format=torch.channels_last)
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(classes), MulticlassAccuracy(classes)
        self.confusion = MulticlassConfusionMatrix(classes)
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        logits = self.net(images.to(memory_format=torch.channels_last))
        loss: Tensor = self.loss(logits, labels)
        self.train_accuracy(logits, labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        logits = self.net(images.to(memory_format=torch.channels_last))
        self.val_accuracy(logits, labels)
        self.confusion(logits, labels)
        self.log("val_loss", self.loss(logits, labels), on_epoch=True)
        self.log("val_accuracy", self.val_accuracy, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        self.confusion.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.weight_decay, fused=True)


class Pruning(Callback):
    """Reports to Optuna after each validation, as optuna-integration's callback does."""

    def __init__(self, trial: optuna.Trial):
        self.trial = trial

    def on_validation_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.trial.report(trainer.callback_metrics["val_accuracy"].item(), trainer.current_epoch)
            trainer.should_stop = self.trial.should_prune()


def objective(trial: optuna.Trial, task: Task, train: ImageFolder, val: ImageFolder) -> float:
    lightning.seed_everything(task.seed + trial.number, verbose=False)
    lr = trial.suggest_float("lr", *LEARNING_RATE, log=True)
    weight_decay = trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True)
    model = Model(task.backbone, task.weights, len(train.classes), lr, weight_decay)
    loader = loaders(task)
    logger = MLFlowLogger(EXPERIMENT, run_name=f"trial-{trial.number}", tracking_uri=f"sqlite:///{DATABASE}")
    keeper = ModelCheckpoint(Path("checkpoints", str(trial.number)), monitor="val_accuracy", mode="max")
    trainer = lightning.Trainer(
        max_epochs=task.epochs,
        accelerator="auto",
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        logger=logger,
        callbacks=[keeper, Pruning(trial)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    logger.log_hyperparams({"lr": lr, "weight_decay": weight_decay, "backbone": task.backbone})
    trainer.fit(model, loader(train, shuffle=True), loader(val, shuffle=False))
    record(logger, model.confusion.compute().numpy(), train.classes, keeper.best_model_path)
    if trainer.should_stop and trainer.current_epoch < task.epochs:
        raise optuna.TrialPruned
    if keeper.best_model_score is None:
        raise RuntimeError("no epoch was validated")
    return float(keeper.best_model_score)


def loaders(task: Task) -> Callable[..., DataLoader[tuple[Tensor, Tensor]]]:
    def build(dataset: ImageFolder, *, shuffle: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            dataset,
            task.batch_size,
            shuffle=shuffle,
            num_workers=task.loaders,
            persistent_workers=task.loaders > 0,
            pin_memory=torch.cuda.is_available(),
        )

    return build


def record(logger: MLFlowLogger, confusion: np.ndarray, classes: list[str], weights: str) -> None:
    """Log the confusion matrix as a picture, and the weights of the best epoch."""
    figure, axes = pyplot.subplots(figsize=(8, 8))
    ConfusionMatrixDisplay(confusion, display_labels=classes).plot(ax=axes, xticks_rotation="vertical")
    logger.experiment.log_figure(logger.run_id, figure, "confusion.png")
    pyplot.close(figure)
    logger.experiment.log_artifact(logger.run_id, weights, "weights")


if __name__ == "__main__":
    main()

"""Train one trial: epochs of training and evaluation, each checkpointed before it is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.confusion import Confusion, write_confusion
from sweeper.data.batches import Batch, DeviceImages
from sweeper.errors import NonFiniteLoss, TrialError
from sweeper.metrics import ClassificationMetrics
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.training.checkpoint import load_checkpoint, save_checkpoint, save_weights, settle
from sweeper.training.device import autocast, peak_memory_mb, precision, reset_peak_memory
from sweeper.training.evaluate import evaluate
from sweeper.training.optim import build_optimizer
from sweeper.training.progress import Progress
from sweeper.training.schedule import LearningRate

OnEpoch = Callable[[EpochMetrics], bool]


@dataclass(frozen=True)
class TrialData:
    """The images of a trial, on its device, and the names of their classes."""

    train: DeviceImages
    val: DeviceImages
    classes: tuple[str, ...]


@dataclass
class Learner:
    """What learns in a trial: everything a checkpoint must bring back."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    schedule: LearningRate

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def train(
    spec: TrialSpec,
    data: TrialData,
    *,
    objective: ObjectiveConfig,
    patience: int | None,
    device: torch.device,
    folder: TrialFolder,
    on_epoch: OnEpoch,
) -> TrialOutcome:
    """Train a trial to its end, from its last checkpoint where there is one.

    `on_epoch` gets every finished epoch, those of the checkpoint again first, and answers whether
    to prune. An epoch is on disk before it is reported. A TrialError ends the trial as failed.
    """
    state = load_checkpoint(folder, device)
    progress: Progress = state["progress"] if state else Progress()
    settle(folder, progress)
    try:
        learner = build_learner(spec, data, device)
        if state:
            learner.load_state_dict(state)
        pruned = any(on_epoch(metrics) for metrics in progress.history)
        while not pruned and progress.epochs < spec.epochs and not progress.stalled(patience):
            metrics, confusion = _run_epoch(spec, learner, data, progress, device)
            if progress.add(metrics, confusion, objective):
                save_weights(folder, learner.model, metrics.epoch)
            save_checkpoint(folder, learner.state_dict(), progress)
            pruned = on_epoch(metrics)
        outcome = progress.outcome(TrialState.PRUNED if pruned else TrialState.COMPLETE)
    except TrialError as error:
        outcome = progress.outcome(TrialState.FAILED, str(error))
    for name, confusion in progress.confusions.items():
        write_confusion(folder.confusion / f"{name}.csv", confusion, data.classes)
    return outcome.model_copy(update={"device": device.type, "precision": precision(device)})


def build_learner(spec: TrialSpec, data: TrialData, device: torch.device) -> Learner:
    """Build model, optimizer and schedule; the same seed gives the same weights."""
    config = spec.config
    torch.manual_seed(spec.seed)
    model = build_classifier(config, len(data.classes))
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config.optimizer, config.weight_decay, config.decay_norm_and_bias, device)
    schedule = LearningRate(
        optimizer, config.scheduler, epochs=spec.epochs, steps_per_epoch=data.train.steps(config.batch_size)
    )
    return Learner(model, optimizer, schedule)


def _run_epoch(
    spec: TrialSpec, learner: Learner, data: TrialData, progress: Progress, device: torch.device
) -> tuple[EpochMetrics, Confusion]:
    """Train and evaluate one epoch. Everything random in it follows from (seed, epoch)."""
    epoch, config = progress.epochs + 1, spec.config
    torch.manual_seed(int(np.random.SeedSequence([spec.seed, epoch]).generate_state(1)[0]))
    reset_peak_memory(device)
    started = time.perf_counter()
    trained = _train_epoch(spec, learner, data, progress, epoch, device)
    rate = learner.schedule.lr
    training_s = time.perf_counter() - started
    validated = evaluate(
        learner.model,
        data.val,
        classes=len(data.classes),
        batch_size=config.batch_size,
        image_size=config.image_size,
        device=device,
    )
    values = {f"train/{name}": trained[name] for name in ("loss", "accuracy")}
    values |= {f"val/{name}": value for name, value in validated.values.items()}
    _require_finite(values, epoch, rate)
    learner.schedule.after_epoch(values)
    epoch_s = time.perf_counter() - started
    progress.seconds += epoch_s
    values |= {
        "lr": rate,
        "time/epoch_s": epoch_s,
        "images_per_s": len(data.train) / training_s,
        "memory/peak_mb": peak_memory_mb(device),
    }
    metrics = EpochMetrics(epoch=epoch, values=values, timestamp_ms=int(time.time() * 1000))
    return metrics, validated.confusion


def _train_epoch(
    spec: TrialSpec, learner: Learner, data: TrialData, progress: Progress, epoch: int, device: torch.device
) -> Mapping[str, float]:
    """Make one pass over the training images and return the running training metrics."""
    config, model = spec.config, learner.model
    metrics = ClassificationMetrics(len(data.classes), device)
    model.train()
    batches = data.train.train_batches(
        config.batch_size, config.augment, config.image_size, model.mean, model.std, seed=spec.seed, epoch=epoch
    )
    for batch in batches:
        learner.schedule.before_step(progress.steps)
        with autocast(device):
            logits = model(batch.images)
            losses = batch_losses(logits.float(), batch, config.label_smoothing)
        loss = losses.mean()
        # Reading the loss waits for the device: free on a CPU, left to the end of the epoch on a GPU.
        if device.type == "cpu" and not torch.isfinite(loss):
            raise NonFiniteLoss(_not_finite("training loss", float(loss.detach()), epoch, learner.schedule.lr))
        _update(learner, loss, config)
        metrics.update(logits.detach().float(), batch.labels, losses.detach())
        progress.steps += 1
    return metrics.compute()


def _update(learner: Learner, loss: torch.Tensor, config: TrialConfig) -> None:
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if config.gradient_clip is not None:
        nn.utils.clip_grad_norm_(learner.model.parameters(), config.gradient_clip)
    learner.optimizer.step()


def batch_losses(logits: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
    """Return the cross-entropy of each image [B]; of mixed images, weighted between both labels."""
    losses = functional.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=label_smoothing)
    if batch.mixed_labels is None or batch.mix_weight is None:
        return losses
    other = functional.cross_entropy(logits, batch.mixed_labels, reduction="none", label_smoothing=label_smoothing)
    return batch.mix_weight * losses + (1 - batch.mix_weight) * other


def _require_finite(values: Mapping[str, float], epoch: int, rate: float) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise NonFiniteLoss(_not_finite(name, value, epoch, rate))


def _not_finite(name: str, value: float, epoch: int, rate: float) -> str:
    return f"{name} became {value} in epoch {epoch} at learning rate {rate:g}; a lower rate or gradient_clip may help"

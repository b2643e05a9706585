"""Train one trial: epochs of training and evaluation, each checkpointed before it is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.config.sweep import ObjectiveConfig
from sweeper.confusion import Confusion, write_confusion
from sweeper.data.batches import DeviceImages
from sweeper.errors import DoesNotFit, NonFiniteLoss, TrialError
from sweeper.metrics import ClassificationMetrics
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState, does_not_fit
from sweeper.training.checkpoint import load_checkpoint, save_checkpoint, save_weights, settle
from sweeper.training.device import peak_memory_mb, precision, reset_peak_memory
from sweeper.training.evaluate import evaluate
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.memory import OUT_OF_MEMORY
from sweeper.training.micro_batch import MicroBatches, recall_limits, remember_limits, smallest_part
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
    micro_batches: MicroBatches

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "micro_batches": self.micro_batches.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], batch_size: int) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.micro_batches.load_state_dict(state["micro_batches"], batch_size)


def train(
    spec: TrialSpec,
    data: TrialData,
    *,
    objective: ObjectiveConfig,
    patience: int | None,
    device: torch.device,
    folder: TrialFolder,
    on_epoch: OnEpoch,
    limits_file: Path | None = None,
) -> TrialOutcome:
    """Train a trial to its end, from its last checkpoint where there is one.

    `on_epoch` gets every finished epoch, those of the checkpoint again first, and answers whether
    to prune. An epoch is on disk before it is reported. A TrialError ends the trial as failed,
    want of memory as pruned and not feasible. `limits_file` remembers for later trials how many images
    fit in memory at once.
    """
    state = load_checkpoint(folder, device)
    progress: Progress = state["progress"] if state else Progress()
    settle(folder, progress)
    try:
        learner = build_learner(spec, data, device, limits_file)
        if state:
            learner.load_state_dict(state, spec.config.batch_size)
        pruned = any(on_epoch(metrics) for metrics in progress.history)
        while not pruned and progress.epochs < spec.epochs and not progress.stalled(patience):
            metrics, confusion = _run_epoch(spec, learner, data, progress, device)
            if progress.add(metrics, confusion, objective):
                save_weights(folder, learner.model, metrics.epoch)
            save_checkpoint(folder, learner.state_dict(), progress)
            if limits_file is not None:
                remember_limits(limits_file, learner.micro_batches.limits)
            pruned = on_epoch(metrics)
        outcome = progress.outcome(TrialState.PRUNED if pruned else TrialState.COMPLETE)
    except DoesNotFit as error:
        config = spec.config
        why = f"{error} ({config.backbone} at {config.image_size} pixels, batch size {config.batch_size})"
        outcome = progress.outcome(TrialState.PRUNED, does_not_fit(why), feasible=False)
    except OUT_OF_MEMORY as error:  # outside the part of a step that can be cut
        why = str(error).partition("\n")[0] or "Python was refused memory"
        outcome = progress.outcome(TrialState.PRUNED, does_not_fit(why), feasible=False)
    except TrialError as error:
        outcome = progress.outcome(TrialState.FAILED, str(error))
    for name, confusion in progress.confusions.items():
        write_confusion(folder.confusion / f"{name}.csv", confusion, data.classes)
    return outcome.model_copy(update={"device": device.type, "precision": precision(device)})


def build_learner(spec: TrialSpec, data: TrialData, device: torch.device, limits_file: Path | None = None) -> Learner:
    """Build model, optimizer and schedule; the same seed gives the same weights."""
    config = spec.config
    torch.manual_seed(spec.seed)
    model = build_classifier(config, len(data.classes))
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config.optimizer, config.weight_decay, config.decay_norm_and_bias, device)
    schedule = LearningRate(
        optimizer, config.scheduler, epochs=spec.epochs, steps_per_epoch=data.train.steps(config.batch_size)
    )
    smallest = smallest_part(model.train())
    limits = recall_limits(limits_file).quartered(config.batch_size, smallest, spec.memory_kills)
    return Learner(model, optimizer, schedule, MicroBatches(device, smallest, limits, spec.memory_kills))


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
        micro_batches=learner.micro_batches,
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
        "micro_batch_size": learner.micro_batches.size(config.batch_size),
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
    start = StepStart(model, device)
    batches = data.train.train_batches(
        config.batch_size, config.augment, config.image_size, model.mean, model.std, seed=spec.seed, epoch=epoch
    )
    for batch in batches:
        learner.schedule.before_step(progress.steps)
        scored = compute_gradients(model, batch, config.label_smoothing, learner.micro_batches, start)
        # Reading the loss waits for the device: free on a CPU, left to the end of the epoch on a GPU.
        if device.type == "cpu" and not torch.isfinite(loss := scored.losses.mean()):
            raise NonFiniteLoss(_not_finite("training loss", float(loss), epoch, learner.schedule.lr))
        _update(learner, config.gradient_clip)
        metrics.update(scored.logits, batch.labels, scored.losses)
        progress.steps += 1
    return metrics.compute()


def _update(learner: Learner, gradient_clip: float | None) -> None:
    if gradient_clip is not None:
        nn.utils.clip_grad_norm_(learner.model.parameters(), gradient_clip)
    learner.optimizer.step()


def _require_finite(values: Mapping[str, float], epoch: int, rate: float) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise NonFiniteLoss(_not_finite(name, value, epoch, rate))


def _not_finite(name: str, value: float, epoch: int, rate: float) -> str:
    return f"{name} became {value} in epoch {epoch} at learning rate {rate:g}; a lower rate or gradient_clip may help"

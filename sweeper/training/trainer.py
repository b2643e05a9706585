"""Train one trial: epochs of training and evaluation, each checkpointed before it is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.config.sweep import ObjectiveConfig
from sweeper.errors import DoesNotFit, NonFiniteLoss, TrialError
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState, does_not_fit
from sweeper.training.checkpoint import load_checkpoint, save_checkpoint, settle
from sweeper.training.compiling import PLAIN, Compilation
from sweeper.training.cost import count_parameters, latency_ms
from sweeper.training.device import peak_memory_mb, precision, reset_peak_memory
from sweeper.training.features import FrozenFeatures
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.inputs import TrialData
from sweeper.training.learner import Learner, build_learner
from sweeper.training.memory import OUT_OF_MEMORY
from sweeper.training.progress import Progress
from sweeper.training.task import Task, Validation
from sweeper.training.tasks import build_task
from sweeper.training.top_classes import keep_predictions

OnEpoch = Callable[[EpochMetrics], bool]

TRAINED = ("loss", "accuracy", "psnr")
"""What is logged of the training pass, where the task measures it."""


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
    features: FrozenFeatures | None = None,
    compilation: Compilation = PLAIN,
    latency: bool = False,
) -> TrialOutcome:
    """Train a trial to its end, from its last checkpoint where there is one.

    `on_epoch` gets every finished epoch, those of the checkpoint again first, and answers whether
    to prune. An epoch is on disk before it is reported. A TrialError ends the trial as failed,
    want of memory as pruned and not feasible. `limits_file` remembers for later trials how many images
    fit in memory at once. `features` has what frozen backbones make of the images. `compilation` says
    whether the network is compiled.
    `latency`: measure at the end how long the network takes for one image.
    """
    state = load_checkpoint(folder, device)
    progress: Progress = state["progress"] if state else Progress(before=spec.epochs_before)
    settle(folder, progress)
    learner: Learner | None = None
    try:
        learner = build_learner(spec, data, device, limits_file, features, compilation)
        if state:
            learner.load_state_dict(state, spec.config.batch_size)
        pruned = any(on_epoch(metrics) for metrics in progress.history)
        while not pruned and progress.epochs < spec.epochs and not progress.stalled(patience):
            metrics, validated = _run_epoch(spec, learner, data, progress, device)
            if learner.task.shows(metrics.epoch):
                learner.task.keep(validated.exhibit, f"epoch-{metrics.epoch:04d}", folder)
            if progress.add(metrics, validated.exhibit, objective):
                learner.keep_best(folder, metrics.epoch)
                if validated.top is not None:
                    keep_predictions(folder, validated.top, data.val, metrics.epoch)
            save_checkpoint(folder, learner.state_dict(), progress)
            learner.remember_limits()
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
    task = learner.task if learner else build_task(spec, data, device)
    return leave(outcome, spec, folder, progress, task, device, learner, latency=latency)


def leave(
    outcome: TrialOutcome,
    spec: TrialSpec,
    folder: TrialFolder,
    progress: Progress,
    task: Task,
    device: torch.device,
    learner: Learner | None,
    *,
    latency: bool = False,
) -> TrialOutcome:
    """Write what a trial that has ended leaves behind, and add to its outcome how it was trained and what it costs."""
    for name, exhibit in progress.exhibits.items():
        task.keep(exhibit, name, folder)
    threads = torch.get_num_threads() if device.type == "cpu" else None
    trained: dict[str, Any] = {"device": device.type, "precision": precision(device), "threads": threads}
    if learner is not None:
        learner.write_best(folder, progress.best_epoch)
        costs = {"parameters": float(count_parameters(learner.model))}
        if latency and outcome.state is TrialState.COMPLETE:
            costs["latency_ms"] = latency_ms(learner.model, spec.config.image_size, device)
        trained |= {"on_features": learner.on_features, "compiled": learner.compiling.forward.compiled, "costs": costs}
    return outcome.model_copy(update=trained)


def _run_epoch(
    spec: TrialSpec, learner: Learner, data: TrialData, progress: Progress, device: torch.device
) -> tuple[EpochMetrics, Validation]:
    """Train and evaluate one epoch. Everything random in it follows from (seed, epoch)."""
    epoch, config = progress.epochs + 1, spec.config
    torch.manual_seed(epoch_seed(spec.seed, epoch))
    reset_peak_memory(device)
    steps = data.steps(config.batch_size)
    learner.compiling.before_epoch((spec.epochs - progress.epochs) * steps)
    started = time.perf_counter()
    trained = _train_epoch(spec, learner, progress, epoch, device)
    rate = learner.schedule.lr
    training_s = time.perf_counter() - started
    learner.compiling.after_epoch(steps, training_s)
    validated = learner.task.validate(learner.inputs.network, learner.inputs.val(), device, learner.micro_batches)
    values = quality(trained, validated.values)
    require_finite(values, epoch, rate)
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
    return metrics, validated


def _train_epoch(
    spec: TrialSpec, learner: Learner, progress: Progress, epoch: int, device: torch.device
) -> Mapping[str, float]:
    """Make one pass over the training images and return the running training metrics."""
    forward, network, meter = learner.compiling.forward, learner.inputs.network, learner.task.meter(device)
    network.train()
    start = StepStart(network, device)
    for batch in learner.inputs.train(epoch):
        learner.schedule.before_step(progress.steps)
        scored = compute_gradients(forward, batch, learner.task.losses, learner.micro_batches, start)
        # Reading the loss waits for the device: free on a CPU, left to the end of the epoch on a GPU.
        if device.type == "cpu" and not torch.isfinite(loss := scored.losses.mean()):
            raise NonFiniteLoss(_not_finite("training loss", float(loss), epoch, learner.schedule.lr))
        _update(learner, spec.config.gradient_clip)
        meter.update(scored.outputs, batch, scored.losses)
        progress.steps += 1
    return meter.compute()


def _update(learner: Learner, gradient_clip: float | None) -> None:
    if gradient_clip is not None:
        nn.utils.clip_grad_norm_(learner.inputs.network.parameters(), gradient_clip)
    learner.optimizer.step()


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of what torch draws in an epoch of a trial: its masks of dropout."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def quality(trained: Mapping[str, float], validated: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of an epoch that judge the model."""
    values = {f"train/{name}": trained[name] for name in TRAINED if name in trained}
    return values | {f"val/{name}": value for name, value in validated.items()}


def require_finite(values: Mapping[str, float], epoch: int, rate: float) -> None:
    """Raise NonFiniteLoss where a metric is no number."""
    for name, value in values.items():
        if not np.isfinite(value):
            raise NonFiniteLoss(_not_finite(name, value, epoch, rate))


def _not_finite(name: str, value: float, epoch: int, rate: float) -> str:
    return f"{name} became {value} in epoch {epoch} at learning rate {rate:g}; a lower rate or gradient_clip may help"

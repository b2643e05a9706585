"""Head trials on the same features, trained at once: one batched product in place of many small ones.

Each member keeps its own weights, optimizer settings, schedule, order of images, history, checkpoint
and end; a member that ends leaves the others as they are. Whether a trial is trained like this
depends on its configuration alone, unless its worker was killed for memory. Its numbers on the CPU do
not depend on its company, so that an interrupted sweep still equals an uninterrupted one.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.optimizer import AdamConfig, SgdConfig
from sweeper.data.batches import Batch
from sweeper.errors import DiskError, TrialError
from sweeper.modeling.classifier import Classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.scores.confusion import Confusion
from sweeper.scores.metrics import StackedMetrics
from sweeper.training.checkpoint import Record, load_checkpoint, settle
from sweeper.training.classification import Classification
from sweeper.training.conditions import Conditions
from sweeper.training.device import autocast, peak_memory_mb, reset_peak_memory
from sweeper.training.evaluate import answer
from sweeper.training.features import FeatureInputs, pixel_changes
from sweeper.training.learner import Learner, build_learner
from sweeper.training.memory import make_room
from sweeper.training.progress import Progress
from sweeper.training.stack.fused_head import FusedHead
from sweeper.training.stack.fused_loss import StackedLoss, bounds_of_gradients, clip, stacked_loss
from sweeper.training.stack.fused_optim import FusedOptimizer, build_fused_optimizer
from sweeper.training.step_graph import Recorder
from sweeper.training.tasks import build_task
from sweeper.training.top_classes import TopClasses
from sweeper.training.trainer import epoch_seed, leave, outcome_of, quality, require_finite, train

logger = logging.getLogger(__name__)

WRITERS = 8
STACK_WARM_UP = 3
"""Steps of an epoch that come before one is recorded: a stack is made anew for each epoch."""

Report = Callable[[int, EpochMetrics], bool]
"""Takes a trial's number and a finished epoch, and answers whether to prune."""


@dataclass(frozen=True)
class Member:
    """A trial of a stack, as far as it has come."""

    spec: TrialSpec
    folder: TrialFolder
    learner: Learner
    progress: Progress

    @property
    def inputs(self) -> FeatureInputs:
        if not isinstance(self.learner.inputs, FeatureInputs):
            raise TypeError("only trials on features are stacked")
        return self.learner.inputs

    @property
    def head(self) -> nn.Sequential:
        model = self.learner.model
        if not isinstance(model, Classifier) or not isinstance(model.head, nn.Sequential):
            raise TypeError("only heads of named layers are stacked")
        return model.head

    @property
    def task(self) -> Classification:
        if not isinstance(self.learner.task, Classification):
            raise TypeError("only heads of classifiers are stacked")
        return self.learner.task


@dataclass(frozen=True, kw_only=True)
class Together(Conditions):
    """What the trials of a stack share."""

    report: Report


def stack_key(config: TrialConfig) -> Hashable | None:
    """Return what trials on features must have in common to be trained at once; None for one that cannot be."""
    optimizer = config.optimizer
    if config.trainable != "head" or config.ema or config.epoch_soup > 1:
        return None
    match optimizer:
        case AdamConfig():
            kind: Hashable = (optimizer.name, optimizer.amsgrad)
        case SgdConfig():
            kind = ("sgd", optimizer.momentum > 0, optimizer.nesterov)
        case _:
            return None
    images = (config.image_size, pixel_changes(config.augment), config.test_time_augmentation)
    features = (config.backbone, config.pretrained, *images)
    shape = (config.head.hidden, config.head.norm, config.head.activation)
    return (features, shape, config.batch_size, kind, config.augment.mixup > 0, config.class_balance.loss.name)


def train_together(
    trials: Sequence[tuple[TrialSpec, TrialFolder]], together: Together
) -> Iterator[tuple[TrialSpec, TrialOutcome]]:
    """Train trials of one `stack_key` to their ends, from their last checkpoints, and yield each as it ends.

    If a stack fails as a whole, for memory or otherwise, its members go on one by one.
    """
    left = yield from _as_a_stack(trials, together)  # by itself, so that nothing here holds what the stack has held
    if left:
        logger.warning("%d trials cannot be trained together; they go on one by one", len(left))
        make_room(together.device)
        yield from _one_by_one(left, together)


def _as_a_stack(
    trials: Sequence[tuple[TrialSpec, TrialFolder]], together: Together
) -> Generator[tuple[TrialSpec, TrialOutcome], None, list[tuple[TrialSpec, TrialFolder]]]:
    """Train trials at once and yield each as it ends; return those that are left if that fails."""
    living: list[Member] = []
    for place, (spec, folder) in enumerate(trials):
        member = _try_open(spec, folder, together)
        if member is None:
            return [*((one.spec, one.folder) for one in living), *trials[place:]]
        if isinstance(member, TrialOutcome):
            yield spec, member
            continue
        pruned = any(together.report(spec.number, metrics) for metrics in member.progress.history)
        if (outcome := _ending(member, together, pruned)) is not None:
            yield spec, outcome
        else:
            living.append(member)
    while living:
        # Those that a crash has left behind catch up first: epochs are then reported in the same order as without it.
        least = min(member.progress.epochs for member in living)
        due = [member for member in living if member.progress.epochs == least]
        epoch = _try_epoch(due, together)
        if epoch is None:
            return [(member.spec, member.folder) for member in living]
        records = [_take_in(member, finished, together) for member, finished in zip(due, epoch, strict=True)]
        _write(due, records)
        for member, finished, record in zip(due, epoch, records, strict=True):
            if (outcome := _report(member, finished, record, together)) is not None:
                living.remove(member)
                yield member.spec, outcome
    return []


def _try_epoch(members: Sequence[Member], together: Together) -> list[FinishedEpoch] | None:
    """Run one epoch of all members; None where a stack cannot, and the ordinary trainer can or says why not."""
    try:
        return _run_epoch(members, together)
    except Exception as error:
        logger.exception("an epoch of %d trials at once failed", len(members))
        traceback.clear_frames(error.__traceback__)  # they hold the weights and activations of all of them
        return None


def _try_open(spec: TrialSpec, folder: TrialFolder, together: Together) -> Member | TrialOutcome | None:
    """Open a trial; None where that fails, and the ordinary trainer can do it or says why not."""
    try:
        return _open(spec, folder, together)
    except DiskError:
        raise
    except Exception as error:
        logger.exception("trial %d cannot begin beside others", spec.number)
        traceback.clear_frames(error.__traceback__)
        return None


def _open(spec: TrialSpec, folder: TrialFolder, together: Together) -> Member | TrialOutcome | None:
    """Bring a trial to where its checkpoint left it; the outcome of one that cannot be built.

    None for one that began on images, before an update of sweeper.
    """
    state = load_checkpoint(folder)
    progress: Progress = state["progress"] if state else Progress(before=spec.epochs_before)
    settle(folder, progress)
    try:
        learner = build_learner(spec, together.data, together.device, together.limits_file, together.features)
    except TrialError as error:
        failed = progress.outcome(TrialState.FAILED, str(error))
        task = build_task(spec, together.data, together.device)
        return leave(failed, spec, folder, progress, task, together, None)
    if state and not learner.fits(state):
        return None
    if state:
        learner.load_state_dict(state, spec.config.batch_size)
    return Member(spec, folder, learner, progress)


def _ending(member: Member, together: Together, pruned: bool) -> TrialOutcome | None:
    """Return the outcome of a trial that is at its end, and None of one that goes on."""
    spec, progress = member.spec, member.progress
    if not pruned and progress.epochs < spec.epochs and not progress.stalled(together.patience):
        return None
    return _leave(member, progress.outcome(TrialState.PRUNED if pruned else TrialState.COMPLETE), together)


def _leave(member: Member, outcome: TrialOutcome, together: Together) -> TrialOutcome:
    learner = member.learner
    return leave(outcome, member.spec, member.folder, member.progress, learner.task, together, learner)


@dataclass(frozen=True)
class FinishedEpoch:
    """What an epoch gave for one member."""

    metrics: EpochMetrics
    confusion: Confusion
    top: TopClasses


def _take_in(member: Member, finished: FinishedEpoch, together: Together) -> Record | TrialError:
    """Let a member go on from its epoch; return what that leaves on disk, or why the trial fails."""
    metrics, learner, progress = finished.metrics, member.learner, member.progress
    try:
        require_finite(metrics.values, metrics.epoch, metrics.values["lr"])
    except TrialError as error:
        return error
    learner.schedule.after_epoch(metrics.values)
    progress.seconds += metrics.values["time/epoch_s"] + metrics.values["time/features_s"]
    progress.steps += together.data.steps(member.spec.config.batch_size)
    best = progress.add(metrics, finished.confusion, together.objective, finished.top.right(together.data.val))
    predictions = finished.top.named(together.data.val) if best else None
    return learner.record(progress, predictions, together.device, best=best)


def _write(members: Sequence[Member], records: Sequence[Record | TrialError]) -> None:
    """Write what the epoch leaves for all members, several at a time: a disk takes as long for eight as for one."""
    with ThreadPoolExecutor(WRITERS, "stack-writer") as writers:
        pairs = zip(members, records, strict=True)
        work = [writers.submit(record.write, member.folder) for member, record in pairs if isinstance(record, Record)]
        for written in work:
            written.result()


def _report(
    member: Member, finished: FinishedEpoch, record: Record | TrialError, together: Together
) -> TrialOutcome | None:
    """Report a member's epoch; return its outcome when it ends with it."""
    if isinstance(record, TrialError):
        return _leave(member, member.progress.outcome(TrialState.FAILED, str(record)), together)
    return _ending(member, together, together.report(member.spec.number, finished.metrics))


def _one_by_one(
    trials: Sequence[tuple[TrialSpec, TrialFolder]], together: Together
) -> Iterator[tuple[TrialSpec, TrialOutcome]]:
    for spec, folder in trials:
        training = partial(train, spec, folder, together, partial(together.report, spec.number))
        yield spec, outcome_of(spec, training)


def _run_epoch(members: Sequence[Member], together: Together) -> list[FinishedEpoch]:
    """Train and evaluate one epoch of all members. Each counts with its share of the time."""
    device, epoch = together.device, members[0].progress.epochs + 1
    seeds = [epoch_seed(member.spec.seed, epoch) for member in members]
    reset_peak_memory(device)
    started, inputs = time.perf_counter(), members[0].learner.inputs
    prepared_s = inputs.prepared_s
    head = FusedHead([member.head for member in members], seeds)
    trained = _train_epoch(members, head, together, epoch)
    training_s = (time.perf_counter() - started - (inputs.prepared_s - prepared_s)) / len(members)
    validated, top = _evaluate(members[0], head, together, len(members))
    head.write_back()
    features_s = inputs.prepared_s - prepared_s
    shared = {
        "time/epoch_s": (time.perf_counter() - started - features_s) / len(members),
        "time/features_s": features_s / len(members),
        "images_per_s": len(together.data.train) / training_s,
        "memory/peak_mb": peak_memory_mb(device),
        "micro_batch_size": members[0].spec.config.batch_size,
    }
    finished = []
    for number, (member, (fitted, _), (scored, confusion)) in enumerate(zip(members, trained, validated, strict=True)):
        values = {**quality(fitted, scored), "lr": member.learner.schedule.lr, **shared}
        now_ms = member.progress.now_ms()
        metrics = EpochMetrics(epoch=epoch, values=values, timestamp_ms=now_ms, at_once=len(members))
        finished.append(FinishedEpoch(metrics, confusion, top.member(number)))
    return finished


def _train_epoch(
    members: Sequence[Member], head: FusedHead, together: Together, epoch: int
) -> list[tuple[dict[str, float], Confusion]]:
    """Make one pass of every member over the training images; return each one's running metrics."""
    configs, device = [member.spec.config for member in members], together.device
    steps = together.data.steps(configs[0].batch_size)
    optimizer = build_fused_optimizer(
        [config.optimizer for config in configs],
        [member.learner.optimizer for member in members],
        [member.head for member in members],
        head.parameters,
        _rates(members, steps),
        members[0].progress.steps,
    )
    metrics = StackedMetrics(len(members), len(together.data.classes), device)
    loss = stacked_loss([member.task.loss for member in members], device)
    bounds = bounds_of_gradients(configs, device)
    step = StackStep(head, optimizer, loss, bounds, metrics, device)
    recorder = Recorder(step, device, STACK_WARM_UP, head.generators) if device.type == "cuda" else None
    train_features = members[0].inputs.features.train
    batches = train_features.stacked_batches(
        configs[0].batch_size,
        [config.augment for config in configs],
        [member.spec.seed for member in members],
        epoch,
        [config.class_balance.sampling for config in configs],
    )
    for batch in batches:
        step(batch) if recorder is None else recorder(batch, otherwise=step)
    optimizer.write_back()
    return metrics.compute()


@dataclass(frozen=True)
class StackStep:
    """One step of all members."""

    head: FusedHead
    optimizer: FusedOptimizer
    loss: StackedLoss
    bounds: Tensor | None
    metrics: StackedMetrics
    device: torch.device

    def __call__(self, batch: Batch) -> Tensor:
        """Make the step and return the losses, [K, B]."""
        with autocast(self.device):
            logits = self.head(batch.inputs, training=True).float()
        losses = self.loss(logits, batch)
        gradients = list(torch.autograd.grad(losses.sum() / losses.shape[1], list(self.head.parameters.values())))
        if self.bounds is not None:
            clip(gradients, self.bounds)
        self.optimizer.step(gradients)
        self.metrics.update(logits.detach(), batch.labels, losses.detach())
        return losses.detach()


def _rates(members: Sequence[Member], steps: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the learning rate of every step of the epoch, [steps, K]; the schedules then stand at the last."""
    rates = np.empty((steps, len(members)))
    for column, member in enumerate(members):
        for step in range(steps):
            member.learner.schedule.before_step(member.progress.steps + step)
            rates[step, column] = member.learner.schedule.lr
    return rates


def _all_heads(head: FusedHead, count: int, device: torch.device, features: Tensor) -> Tensor:
    """Return the logits of all heads, [K, B, C], for features [B, D]."""
    with autocast(device):
        return head(features.expand(count, -1, -1), training=False).float()


@torch.inference_mode()
def _evaluate(
    member: Member, head: FusedHead, together: Together, count: int
) -> tuple[list[tuple[dict[str, float], Confusion]], TopClasses]:
    """Put the validation images through all heads."""
    metrics, tops = StackedMetrics(count, len(together.data.classes), together.device), []
    for batch in member.inputs.val():
        logits = answer(partial(_all_heads, head, count, together.device), batch)
        labels = batch.labels.expand(count, -1)
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        metrics.update(logits, labels, losses)
        tops.append(TopClasses.of(logits, labels))
    return metrics.compute(), TopClasses.joined(tops)

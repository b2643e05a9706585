"""Train one trial: epochs of training and evaluation, each checkpointed before it is reported."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from sweeper.data.out_of_memory import is_memory
from sweeper.errors import DiskError, DoesNotFit, NonFiniteLoss, OtherImages, TrialError, kind_and_message
from sweeper.files import Damaged
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState, does_not_fit
from sweeper.scores.right import write_right
from sweeper.training.checkpoint import Record, load_checkpoint, settle
from sweeper.training.conditions import Conditions
from sweeper.training.cost import count_parameters, latency_ms
from sweeper.training.device import arithmetic, peak_memory_mb, reset_peak_memory
from sweeper.training.epoch_soup import with_average
from sweeper.training.epoch_writer import EpochWriter
from sweeper.training.inputs import TrialData
from sweeper.training.learner import Learner, build_learner
from sweeper.training.memory import free_memory, make_room
from sweeper.training.progress import Progress
from sweeper.training.ranks import Ranks
from sweeper.training.task import Task, Validation
from sweeper.training.tasks import build_task

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochMetrics], bool]

TRAINED = ("loss", "accuracy", "psnr")
"""What is logged of the training pass, where the task measures it."""


def train(spec: TrialSpec, folder: TrialFolder, conditions: Conditions, on_epoch: OnEpoch) -> TrialOutcome:
    """Train a trial to its end, or until it is to pause, from its last checkpoint where there is one.

    `on_epoch` gets every finished epoch, those of the checkpoint again first, and answers whether
    to prune. An epoch is on disk before it is reported. A TrialError ends the trial as failed,
    want of memory as pruned and not feasible. Of several ranks the first one alone writes and reports. Raises RankLost.
    """
    told: set[int] = set()

    def tell(metrics: EpochMetrics) -> bool:
        told.add(metrics.epoch)
        return on_epoch(metrics)

    try:
        return _attempt(spec, folder, conditions, tell, makes_room=not conditions.ranks.several)
    except _RoomMade as made:
        logger.warning("trial %d goes on from its last epoch after memory ran out: %s", spec.number, made)
        spent_s = made.seconds
    free_memory(conditions.device)
    return _attempt(spec, folder, conditions, lambda metrics: metrics.epoch not in told and on_epoch(metrics), spent_s)


class _RoomMade(Exception):
    """Memory has run out where no batch can be cut, and now there is more: what was kept for later trials is gone."""

    def __init__(self, why: str, seconds: float):
        super().__init__(why)
        self.seconds = seconds
        """Spent on the trial so far, those of a lost epoch included."""


def _attempt(
    spec: TrialSpec,
    folder: TrialFolder,
    conditions: Conditions,
    on_epoch: OnEpoch,
    spent_s: float = 0.0,
    *,
    makes_room: bool = False,
) -> TrialOutcome:
    """Train a trial as `train` says; an attempt before this one has spent time on it. Raises _RoomMade, RankLost."""
    ranks = conditions.ranks
    state = ranks.first_before_others(partial(load_checkpoint, folder))
    begun = Progress(before=spec.epochs_before, averaged=spec.config.epoch_soup)
    progress: Progress = state["progress"] if state else begun
    progress.seconds = max(progress.seconds, spent_s)
    if ranks.first:
        settle(folder, progress)
    learner: Learner | None = None
    try:
        learner = _build(spec, conditions)
        if state and learner.on_features and not learner.fits(state):
            learner = _build(spec, replace(conditions, features=None))  # as it began, before an update of sweeper
        if state:
            learner.load_state_dict(state, spec.config.batch_size)
        killed = state is not None and spec.memory_kills > state["micro_batches"]["kills"]
        state = None  # as large as network and optimizer together
        ranks.require_same(progress.epochs, "the number of epochs in the checkpoint")
        before = progress.epochs
        pruned = _train_epochs(spec, learner, progress, folder, conditions, on_epoch)
        outcome = progress.outcome(TrialState.PRUNED if pruned else _state(spec, progress, conditions.patience))
        if outcome.state is TrialState.COMPLETE and progress.leading:
            seed = epoch_seed(spec.seed, progress.epochs, ranks.rank)
            killed_here = killed and progress.epochs == before
            outcome = with_average(outcome, learner, progress, folder, conditions, seed, fits=not killed_here)
    except DoesNotFit as error:
        config = spec.config
        why = f"{error} ({config.backbone} at {config.image_size} pixels, batch size {config.batch_size})"
        outcome = progress.outcome(TrialState.PRUNED, does_not_fit(why), feasible=False)
    except (RuntimeError, MemoryError) as error:
        if not is_memory(error):
            raise
        why = str(error).partition("\n")[0] or "Python was refused memory"  # outside the part of a step that can be cut
        traceback.clear_frames(error.__traceback__)  # they hold activations
        if makes_room and make_room(conditions.device):
            if learner is not None:
                learner.close()
            raise _RoomMade(why, progress.seconds) from None
        outcome = progress.outcome(TrialState.PRUNED, does_not_fit(why), feasible=False)
    except TrialError as error:
        outcome = progress.outcome(TrialState.FAILED, str(error))
    if not ranks.first:
        return outcome
    task = learner.task if learner else build_task(spec, conditions.data, conditions.device)
    return leave(outcome, spec, folder, progress, task, conditions, learner)


def _build(spec: TrialSpec, conditions: Conditions) -> Learner:
    return build_learner(
        spec,
        conditions.data,
        conditions.device,
        conditions.limits_file,
        conditions.features,
        conditions.compilation,
        conditions.graphs,
        conditions.ranks,
        conditions.teachers,
    )


def leave(
    outcome: TrialOutcome,
    spec: TrialSpec,
    folder: TrialFolder,
    progress: Progress,
    task: Task,
    conditions: Conditions,
    learner: Learner | None,
) -> TrialOutcome:
    """Write what a trial that has ended leaves behind, and add to its outcome how it was trained and what it costs."""
    device, images = conditions.device, conditions.data.val.ids
    settle(folder, progress)
    if outcome.state is TrialState.PAUSED:
        folder.checkpoint_before.unlink(missing_ok=True)  # the last one is whole, and many trials may be paused
    if progress.right and len(images):
        write_right(folder.right, images, progress.right)
    for name, exhibit in progress.exhibits.items():
        task.keep(exhibit, name, folder)
    threads = torch.get_num_threads() if device.type == "cpu" else None
    trained: dict[str, Any] = {"device": device.type, "precision": arithmetic(device), "threads": threads}
    if learner is not None:
        compiled = learner.compiling.forward.compiled
        learner.close()
        try:
            learner.write_best(folder, progress)
        except Damaged as error:
            reason = f"{error}; check the disk, and train the configuration again"
            outcome = progress.outcome(TrialState.FAILED, reason)
        costs = {"parameters": float(count_parameters(learner.model))}
        if conditions.latency and outcome.best_epoch is not None:  # a pruned one may count as complete (`as_counted`)
            costs["latency_ms"] = latency_ms(learner.model, spec.config.image_size, device)
        trained |= {"on_features": learner.on_features, "compiled": compiled, "costs": costs}
    return outcome.model_copy(update=trained)


def _train_epochs(
    spec: TrialSpec,
    learner: Learner,
    progress: Progress,
    folder: TrialFolder,
    conditions: Conditions,
    on_epoch: OnEpoch,
) -> bool:
    """Train until the epochs are used up, the objective stalls or `on_epoch` prunes; return whether it did."""
    data, device, ranks = conditions.data, conditions.device, conditions.ranks
    if ranks.agree(any(on_epoch(metrics) for metrics in progress.history)):
        return True
    with EpochWriter(device) as writer:
        while not writer.pruned and progress.epochs < spec.until and not progress.stalled(conditions.patience):
            began = time.perf_counter()
            try:
                finished = _run_epoch(spec, learner, data, progress, device, writer, ranks)
            except (TrialError, RuntimeError, MemoryError):
                if writer.wait():  # the trial had ended before
                    break
                progress.seconds += time.perf_counter() - began  # lost, and the user's all the same
                raise
            if writer.wait() or finished is None:
                break
            metrics, validated = finished
            right = validated.top.right(data.val) if validated.top is not None else None
            best = progress.add(metrics, validated.exhibit, conditions.objective, right)
            if ranks.first:
                predictions = validated.top.named(data.val) if best and validated.top is not None else None
                record = learner.record(progress, predictions, device, best=best)
                learner.remember_limits()
                writer.submit(partial(_leave_epoch, record, metrics, validated, learner.task, folder, on_epoch))
            if ranks.several and ranks.agree(writer.wait()):
                return True  # on every rank; the others' writers know of no answer
        return writer.wait()


def _state(spec: TrialSpec, progress: Progress, patience: int | None) -> TrialState:
    """Return how a trial stands that was not pruned and trains no further."""
    pauses = progress.epochs < spec.epochs and not progress.stalled(patience)
    return TrialState.PAUSED if pauses else TrialState.COMPLETE


def _leave_epoch(
    record: Record,
    metrics: EpochMetrics,
    validated: Validation,
    task: Task,
    folder: TrialFolder,
    on_epoch: OnEpoch,
) -> bool:
    """Write what an epoch leaves, then report it; return whether to prune."""
    if task.shows(metrics.epoch):
        task.keep(validated.exhibit, f"epoch-{metrics.epoch:04d}", folder)
    record.write(folder)
    return on_epoch(metrics)


def _run_epoch(
    spec: TrialSpec,
    learner: Learner,
    data: TrialData,
    progress: Progress,
    device: torch.device,
    writer: EpochWriter,
    ranks: Ranks,
) -> tuple[EpochMetrics, Validation] | None:
    """Train and evaluate one epoch; None where the trial turns out to be pruned meanwhile.

    Everything random in it follows from (seed, epoch), and for dropout the rank.
    """
    epoch, config = progress.epochs + 1, spec.config
    torch.manual_seed(epoch_seed(spec.seed, epoch, ranks.rank))
    reset_peak_memory(device)
    steps = data.steps(config.batch_size)
    whole = learner.has_whole_work(epoch)  # cheaper epochs do not tell whether compiling repays
    learner.compiling.before_epoch((spec.epochs - progress.epochs) * steps if whole else 0)
    started, prepared_s = time.perf_counter(), learner.inputs.prepared_s
    trained = _train_epoch(learner, progress, epoch, device, writer)
    if trained is None:
        return None
    rate = learner.schedule.lr
    training_s = time.perf_counter() - started - (learner.inputs.prepared_s - prepared_s)
    if whole:
        learner.compiling.after_epoch(steps, training_s)
    sizes = learner.micro_batches
    learner.before_validation(epoch, device)
    validated = learner.task.validate(learner.judged, learner.inputs.val(), device, sizes, ranks)
    values = ranks.agree(quality(trained, validated.values))
    require_finite(values, epoch, rate)
    learner.schedule.after_epoch(values)
    seconds, features_s = time.perf_counter() - started, learner.inputs.prepared_s - prepared_s
    progress.seconds += seconds
    values |= {"time/features_s": features_s} if learner.on_features else {}
    values |= {
        "lr": rate,
        "time/epoch_s": seconds - features_s,
        "images_per_s": len(data.train) / training_s,
        "memory/peak_mb": peak_memory_mb(device, recorded=learner.recorded),
        "micro_batch_size": sizes.size(ranks.largest_share(config.batch_size)),
    }
    metrics = EpochMetrics(epoch=epoch, values=ranks.agree(values), timestamp_ms=progress.now_ms())
    return metrics, validated


def _train_epoch(
    learner: Learner, progress: Progress, epoch: int, device: torch.device, writer: EpochWriter
) -> Mapping[str, float] | None:
    """Make one pass over the training images and return the running training metrics."""
    learner.before_epoch(epoch)
    steps = learner.steps(device)
    steps.meter.reset()
    for batch in learner.inputs.train(epoch):
        if writer.pruned:
            return None
        learner.schedule.before_step(progress.steps)
        losses = steps(batch)
        if learner.average is not None:
            learner.average.update()
        # Reading the loss waits for the device: free on a CPU, left to the end of the epoch on a GPU.
        if device.type == "cpu" and not torch.isfinite(loss := losses.mean()):
            raise NonFiniteLoss(_not_finite("training loss", float(loss), epoch, learner.schedule.lr))
        progress.steps += 1
    return steps.meter.compute()


def outcome_of(spec: TrialSpec, training: Callable[[], TrialOutcome]) -> TrialOutcome:
    """Return how the training of a trial ends; one in which anything is raised has failed.

    Raises what is no fault of the trial: the driver is gone, the disk is full, or the images have changed.
    """
    try:
        return training()
    except (ConnectionError, DiskError, OtherImages):
        raise
    except Exception as error:
        logger.exception("trial %d failed", spec.number)
        return TrialOutcome(state=TrialState.FAILED, reason=kind_and_message(error))


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of what torch draws in an epoch of a trial: its masks of dropout, others on each rank."""
    return int(np.random.SeedSequence([seed, epoch, rank] if rank else [seed, epoch]).generate_state(1)[0])


def quality(trained: Mapping[str, float], validated: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of an epoch that judge the model."""
    values = {f"train/{name}": trained[name] for name in TRAINED if name in trained}
    return values | {f"val/{name}": value for name, value in validated.items()}


def require_finite(values: Mapping[str, float], epoch: int, rate: float) -> None:
    """Raise NonFiniteLoss where a metric is not a number."""
    for name, value in values.items():
        if not np.isfinite(value):
            raise NonFiniteLoss(_not_finite(name, value, epoch, rate))


def _not_finite(name: str, value: float, epoch: int, rate: float) -> str:
    return f"{name} became {value} in epoch {epoch} at learning rate {rate:g}; a lower rate or gradient_clip may help"

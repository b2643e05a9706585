"""What each key of a search space allows and its keys together do not: one task's settings for another, directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.config.document import Key
from sweeper.config.engine import RayConfig, SimulateConfig
from sweeper.config.hyperparameters import ReduceOnPlateauConfig
from sweeper.config.optimizer import OWN_OPTIMIZERS
from sweeper.config.pruner import (
    HyperbandConfig,
    PatientConfig,
    PlateauConfig,
    PromoteConfig,
    SuccessiveHalvingConfig,
)
from sweeper.config.searched import largest, lowest, options, smallest
from sweeper.config.sweep import COSTS, SweepConfig, right_direction
from sweeper.config.task import METRICS, ReconstructionConfig

SSIM_WINDOW = 11
LONGEST_RANKED = 90
"""Letters of a study's name that leaves room for that of the study which ranks its backbones."""

WITHOUT_EFFECT = ("head", "label_smoothing", "unfreezing", "test_time_augmentation", "teacher")
"""What only a classifier has."""


def contradictions(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield the key and the rule of every setting that does not go with the task, and of every wrong direction."""
    name = sweep.task.name
    measured = METRICS[name]
    wanted: list[tuple[Key, Any]] = [((*key, "metric"), goal.metric) for key, goal in _goals(sweep)]
    wanted = [(key, metric) for key, metric in wanted if metric not in COSTS]
    wanted += [(("search", "scheduler"), metric) for metric in plateau_metrics(sweep.search.scheduler)]
    for key, metric in wanted:
        if metric not in measured:
            yield key, f"{metric} is not measured by the task {name}, only {', '.join(measured)}"
    yield from _directions(sweep)
    yield from _of_training(sweep)
    yield from of_epochs(sweep)
    yield from _of_optimizers(sweep)
    yield from _of_pauses(sweep)
    yield from _of_features(sweep)
    yield from _of_devices(sweep)
    yield from _of_epoch_soup(sweep)
    yield from _of_ranking(sweep)
    if sweep.dataset.folds:
        yield from _of_folds(sweep, sweep.dataset.folds)
    if isinstance(sweep.task, ReconstructionConfig):
        yield from _of_reconstruction(sweep.search)


def _directions(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield every objective that would rank the worst first."""
    for key, goal in _goals(sweep):
        right = right_direction(goal.metric)
        if goal.direction != right:
            better = "higher" if right == "maximize" else "lower"
            rule = f"{goal.metric} is better the {better} it is: direction: {right}, which is the default"
            yield (*key, "direction"), f"{rule}; got {goal.direction}, which would rank the worst first"


def _of_training(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield every objective that would rank what has learned its training images by heart."""
    for key, goal in _goals(sweep):
        if goal.metric.startswith("train/"):
            rule = f"{goal.metric} is measured on the training images, where the most overfitted trial wins"
            yield (*key, "metric"), f"{rule}; use {goal.metric.replace('train/', 'val/')}"


def of_epochs(sweep: SweepConfig, before: int = 0, unfreezing_after: int = 0) -> Iterator[tuple[Key, str]]:
    """Yield every number of epochs that a trial never reaches, and by which it would train otherwise than it says.

    Trials that go on from another one have `before` of its epochs, and their own are those to come; `unfreezing` counts
    those after `unfreezing_after`.
    """
    budget = sweep.budget.epochs - before
    most = f"{budget:,}, the epochs to come" if before else f"budget.epochs, {budget:,}"
    places: list[tuple[Key, Any]] = [(("pruner",), sweep.pruner)]
    places += [(("pruner", "pruner"), sweep.pruner.pruner)] if isinstance(sweep.pruner, PatientConfig) else []
    reports = f"dataset.folds, {sweep.reports}" if sweep.dataset.folds else most
    for place, pruner in places:
        if isinstance(pruner, HyperbandConfig | SuccessiveHalvingConfig) and pruner.min_epochs > sweep.reports - before:
            rule = f"should be at most {reports}, got {pruner.min_epochs:,}: nothing would be pruned"
            yield (*place, "min_epochs"), rule
    for scheduler in options(sweep.search.scheduler):
        if (warmup := lowest(scheduler.warmup_epochs)) > budget:
            rule = f"warmup_epochs should be at most {most}, got {warmup:g}: the learning rate would never be reached"
            yield ("search", "scheduler"), rule
    for option in options(sweep.search.unfreezing):
        if (alone := lowest(option.head_epochs)) < sweep.budget.epochs - unfreezing_after:
            continue
        rule = f"should be below {most}, got {alone:g}: the backbone would never learn"
        yield ("search", "unfreezing", "head_epochs"), f"{rule}; trainable: head says that"
    rungs = sweep.pruner.rungs if isinstance(sweep.pruner, PromoteConfig) else None
    if rungs and (first := min(rungs)) >= budget:
        yield ("pruner", "rungs"), f"should be below {most}, got {first:,}: no trial would pause"


def _of_optimizers(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield what would have no effect, and names whose settings would not fit what is drawn."""
    own = {"lr": "search.optimizer.lr", "weight_decay": "search.weight_decay", "layer_decay": "search.layer_decay"}
    for optimizer in options(sweep.search.optimizer):
        names = [name for name in options(optimizer.name) if name in OWN_OPTIMIZERS]
        if names and not isinstance(optimizer.name, str):
            rule = f"{' and '.join(names)} cannot be in a choice of names, since each has settings of its own"
            yield ("search", "optimizer", "name"), f"{rule}; write them as {{choice: [{{name: {names[0]}, lr: …}}, …]}}"
        for name in own.keys() & getattr(optimizer, "options", {}).keys():
            yield ("search", "optimizer", "options", name), f"has no effect here; use {own[name]}"


def _of_pauses(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield what does not go together with trials that pause."""
    if not isinstance(sweep.pruner, PromoteConfig):
        return
    if sweep.features.fuse > 1:
        rule = "trials that are trained together cannot pause each at its own time"
        yield ("features", "fuse"), f"{rule}: use fuse: 1, or pruner: median; got {sweep.features.fuse}"


def _of_features(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield what does not go together with features that are not kept."""
    if sweep.features.last_stage and not sweep.features.cache:
        rule = "should be false where features.cache is false, and nothing is kept; got true"
        yield ("features", "last_stage"), rule


def _of_devices(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield what does not go together with trials on several devices."""
    many = sweep.devices_per_trial
    if many == 1:
        return
    if sweep.features.fuse > 1:
        rule = "trials that are trained together have one device"
        yield ("features", "fuse"), f"{rule}: use fuse: 1 with devices_per_trial: {many}, got {sweep.features.fuse}"
    if sweep.device.startswith("cuda:") or sweep.device == "mps":
        yield ("device",), f"names one device, and devices_per_trial: {many} needs more; use auto, cuda or cpu"
    gpus = sweep.engine.gpus_per_trial if isinstance(sweep.engine, RayConfig) else None
    if gpus and gpus != many:
        rule = f"should be devices_per_trial, {many}, or left out"
        yield ("engine", "gpus_per_trial"), f"{rule}; got {gpus:g}"


def _of_epoch_soup(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield what does not go together with averages of a trial's best epochs."""
    most = largest(sweep.search.epoch_soup)
    if most > 1 and sweep.dataset.folds:
        rule = f"should be 1 with dataset.folds: {sweep.dataset.folds}: the last training has all images, and none are"
        yield ("search", "epoch_soup"), f"{rule} left to tell which of its epochs to average; got {most}"
    if most > 1 and sweep.keep_optimizer:
        rule = "keeps a state that belongs to the weights of one epoch, and search.epoch_soup may leave an average of"
        yield ("keep_optimizer",), f"{rule} {most}; use false, or epoch_soup: 1"


def _of_folds(sweep: SweepConfig, folds: int) -> Iterator[tuple[Key, str]]:
    """Yield what does not go together with cross-validation."""
    search: Any = sweep.search
    given = f"dataset.folds: {folds}"
    if isinstance(sweep.task, ReconstructionConfig):
        yield ("dataset", "folds"), "is for the task classification; remove it"
    if isinstance(sweep.pruner, PromoteConfig | PlateauConfig):
        name = sweep.pruner.name
        rule = f"{name} looks at single epochs, and with {given} trials are compared after each fold"
        yield ("pruner",), f"{rule}; use median, percentile, successive_halving or hyperband, got {name}"
    if sweep.budget.time is not None:
        rule = f"plans the time by the length of an epoch, which does not go with {given}"
        yield ("budget", "for"), f"{rule}; set it to null and use budget.timeout, after which no trial starts"
    if sweep.features.fuse > 1:
        rule = f"trials that are trained together have one validation split: use fuse: 1 with {given}"
        yield ("features", "fuse"), f"{rule}, got {sweep.features.fuse}"
    if sweep.devices_per_trial > 1:
        rule = f"should be 1 with {given}: small data trains no faster on several devices"
        yield ("devices_per_trial",), f"{rule}; use --workers for several trials at once, got {sweep.devices_per_trial}"
    if isinstance(sweep.engine, SimulateConfig):
        yield ("engine",), f"simulates epochs and no folds; remove {given}"
    if any(teacher.name != "none" for teacher in options(search.teacher)):
        rule = f"may have learned from the images that judge a fold, so its accuracy would be too high with {given}"
        yield ("search", "teacher"), f"a teacher {rule}; remove one of the two"


def _of_ranking(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield why backbones cannot be ranked."""
    ranking, backbones = sweep.backbone_ranking, options(sweep.search.backbone)
    if ranking is None:
        return
    if len(backbones) <= ranking.keep:
        rule = f"search.backbone has {len(backbones)}, and keep is {ranking.keep}: nothing would be left out"
        yield ("backbone_ranking", "keep"), f"{rule}; name more backbones, or remove backbone_ranking"
    for place, name in ((("study",), sweep.study), (("tracking", "name"), sweep.tracking.name or "")):
        if len(name) > LONGEST_RANKED:
            rule = f"should have at most {LONGEST_RANKED} letters with backbone_ranking, whose study is NAME-backbones"
            yield place, f"{rule}; got {len(name)}"
    if True not in options(sweep.search.pretrained):
        rule = "ranks backbones by their pretrained features; use search.pretrained: true"
        yield ("backbone_ranking",), f"{rule}, got {sweep.search.pretrained}"
    if isinstance(sweep.task, ReconstructionConfig):
        yield ("backbone_ranking",), "is for the task classification; remove it"


def _goals(sweep: SweepConfig) -> list[tuple[Key, Any]]:
    """Return where each objective stands, and what it says."""
    named: list[tuple[Key, Any]] = [(("objectives", index), goal) for index, goal in enumerate(sweep.objectives)]
    return named or [(("objective",), sweep.objective)]


def _of_reconstruction(search: Any) -> Iterator[tuple[Key, str]]:
    without = [(key,) for key in WITHOUT_EFFECT if key in search.model_fields_set]
    for key in (*without, *dict.fromkeys(_inner_without_effect(search))):
        yield ("search", *key), "has no effect on the task reconstruction; remove it"
    if set(options(search.trainable)) != {"all"}:
        yield ("search", "trainable"), "should be all for the task reconstruction, which has no head"
    side = smallest(search.image_size)
    if side < SSIM_WINDOW:
        rule = f"SSIM looks through a window of {SSIM_WINDOW} pixels; the task reconstruction needs images of that size"
        yield ("search", "image_size"), f"{rule}, got {side}"


def _inner_without_effect(search: Any) -> Iterator[Key]:
    """Yield what is set in search spaces of a classifier alone, where other settings beside it serve both tasks."""
    for balance in options(search.class_balance):
        for key, plain in (("weights", "none"), ("loss", "cross_entropy")):
            if any(option.name != plain for option in options(getattr(balance, key))):
                yield "class_balance", key
    if any(options(optimizer.head_lr_factor) != (1.0,) for optimizer in options(search.optimizer)):
        yield "optimizer", "head_lr_factor"


def plateau_metrics(scheduler: Any) -> list[Any]:
    """Return the metrics that a schedule may look at."""
    named = [option for option in options(scheduler) if getattr(option, "name", "") == "reduce_on_plateau"]
    default = ReduceOnPlateauConfig.model_fields["metric"].default
    return [metric for option in named for metric in options(getattr(option, "metric", default))]

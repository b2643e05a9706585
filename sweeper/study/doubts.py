"""What may be meant otherwise in a search space, as far as that is known before any image is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel

from sweeper.config.hyperparameters import largest_ema
from sweeper.config.option_labels import inside_option, option_labels
from sweeper.config.pruner import (
    HyperbandConfig,
    PatientConfig,
    PlateauConfig,
    PromoteConfig,
    SuccessiveHalvingConfig,
    rungs,
)
from sweeper.config.sampler import GridConfig
from sweeper.config.searched import highest, lowest, options, parameters
from sweeper.config.space import Choice, FloatRange, IntRange
from sweeper.config.sweep import SweepConfig
from sweeper.data.folds import Folds
from sweeper.data.listing import enumerated
from sweeper.data.splitting import Rows, Splits
from sweeper.safeguards.quantity import quantity
from sweeper.search.untried import count_up_to

WIDE = 1e4
"""From this ratio of its ends on a range is searched by decades, if at all: nine tenths of it are the last decade."""

FEW_STAGES = 4
"""Most backbones have so many stages or more."""

MIXING = ("mixup", "cutmix")
"""Changes of images that features go through as well, or that need no features."""

FEW_IMAGES = 2
MOST_COUNTED = 100_000
MOST_CLASSES_TOLD = 10


class Labelled(Protocol):
    """Images with classes and splits, decoded or not."""

    @property
    def labels(self) -> Rows: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def splits(self) -> Splits: ...

    @property
    def folds(self) -> Folds: ...


def doubts(sweep: SweepConfig, images: Labelled) -> Iterator[str]:
    """Yield a warning, with its remedy, for each setting that hardly does what is wanted."""
    yield from doubts_of_settings(sweep)
    yield from _averages_alike(sweep, images)
    yield from _small_classes(images)


def doubts_of_settings(sweep: SweepConfig) -> Iterator[str]:
    """Yield those that the search space alone shows."""
    yield from _wide_ranges(sweep.search, "search")
    yield from _pruner_without_trials(sweep)
    yield from _pruner_without_epochs(sweep)
    yield from _part_of_a_grid(sweep)
    yield from _enqueued_without_a_trial(sweep)
    yield from _end_without_parameters(sweep)
    yield from _stages_that_never_learn(sweep)
    yield from _settings_of_what_is_frozen(sweep)
    yield from _stored_stages(sweep)
    yield from _nothing_to_fuse(sweep)
    yield from _frozen_without_weights(sweep)
    yield from _compared_before_they_learn(sweep)
    yield from _stopped_before_they_learn(sweep)
    yield from _too_few_complete_to_stop(sweep)


def _wide_ranges(node: Any, name: str) -> Iterator[str]:
    match node:
        case FloatRange(bounds=(low, high)) | IntRange(bounds=(low, high)):
            if low > 0 and high / low >= WIDE and not node.log:
                yield (
                    f"{name} is drawn evenly from {low:g} to {high:g}: nine tenths of the trials get more than "
                    f"{high / 10:g}; write log: true beside the range to draw each decade as often"
                )
        case Choice():
            labels = option_labels(node.choice)
            for index, option in enumerate(node.choice):
                inside = inside_option(option, labels[index], index, name) if len(labels) > 1 else name
                yield from _wide_ranges(option, inside)
        case BaseModel():
            for field, inner in node:
                yield from _wide_ranges(inner, f"{name}.{field}")
        case tuple():
            for index, inner in enumerate(node):
                yield from _wide_ranges(inner, f"{name}[{index}]")


def _pruner_without_trials(sweep: SweepConfig) -> Iterator[str]:
    pruner: Any = sweep.pruner.pruner if isinstance(sweep.pruner, PatientConfig) else sweep.pruner
    needed = trials_needed(pruner, sweep.reports)  # none of a plateau, whose phases nobody knows
    if needed > sweep.budget.trials:
        yield (
            f"the pruner {pruner.name} compares {needed:,} trials to fill its rungs up to {sweep.reports:,} "
            f"{sweep.reported}s, and there are {sweep.budget.trials:,}: it decides by chance; raise budget.trials or "
            "pruner.min_epochs, or take `pruner: median`"
        )


def _pruner_without_epochs(sweep: SweepConfig) -> Iterator[str]:
    """Tell of a pruner whose first decision comes after the last epoch, when nothing is left to be saved."""
    if isinstance(sweep.pruner, PlateauConfig):  # which counts phases
        return
    place, pruner = "pruner", sweep.pruner
    if isinstance(pruner, PatientConfig):
        place, pruner = "pruner.pruner", pruner.pruner
    for name in {"min_epochs", "warmup_epochs"} & type(pruner).model_fields.keys():
        waits = getattr(pruner, name)
        first = waits + 1 if name == "warmup_epochs" else waits
        if 1 < sweep.reports <= first:
            yield f"{place}.{name} is {waits:,} of {sweep.reports:,} {sweep.reported}s: nothing is pruned; lower it"


def trials_needed(pruner: object, epochs: int) -> int:
    """Return how many trials a pruner by rungs needs for one of them to reach the last rung by comparison."""
    match pruner:
        case HyperbandConfig():
            eta = pruner.reduction_factor
            largest = _rungs(epochs, pruner.min_epochs, eta)
            return sum(ceil((largest + 1) / (rungs + 1) * eta**rungs) for rungs in range(largest + 1))
        case SuccessiveHalvingConfig():
            rungs = _rungs(epochs, pruner.min_epochs, pruner.reduction_factor) - pruner.min_early_stopping_rate
            return int(pruner.reduction_factor ** max(0, rungs))
        case _:
            return 0


def _rungs(epochs: int, first: int, factor: int) -> int:
    return int(log(max(1.0, epochs / first), factor) + 1e-9)


def _part_of_a_grid(sweep: SweepConfig) -> Iterator[str]:
    if not isinstance(sweep.sampler, GridConfig):
        return
    all_of_them = count_up_to(sweep.search, MOST_COUNTED)
    if all_of_them > sweep.budget.trials:
        yield (
            f"the grid has {all_of_them:,} combinations and budget.trials is {sweep.budget.trials:,}: a part of it, "
            "drawn by the seed, is tried; raise budget.trials, give fewer options, or take `sampler: tpe`"
        )


def _enqueued_without_a_trial(sweep: SweepConfig) -> Iterator[str]:
    left_out = list(sweep.enqueue)[sweep.budget.trials :]
    if left_out:
        trials = quantity(sweep.budget.trials, "trial")
        yield f"enqueue: {', '.join(left_out)} will not be tried, as there is room for {trials}; raise budget.trials"


def _end_without_parameters(sweep: SweepConfig) -> Iterator[str]:
    """Tell what `budget.stop_when` does not look at."""
    if sweep.budget.stop_when is None:
        return
    known = [name for name, _ in parameters(sweep.search, of_all=True)]
    unknown = [name for name, _ in parameters(sweep.search) if name not in known]
    if not known:
        yield (
            "budget.stop_when never ends the search: it looks only at parameters that all trials have, and there is "
            "none; remove budget.stop_when"
        )
    elif unknown:
        yield (
            f"budget.stop_when looks only at parameters that all trials have: {', '.join(known)}. It does not look at "
            f"{', '.join(unknown)}; move these out of the choice, or remove budget.stop_when"
        )


def _stages_that_never_learn(sweep: SweepConfig) -> Iterator[str]:
    """Tell of stages that begin so late, one after another, that most of a usual backbone never learns."""
    if "all" not in options(sweep.search.trainable):
        return
    for option in options(sweep.search.unfreezing):
        each, epochs = lowest(option.stage_epochs), sweep.budget.epochs - lowest(option.head_epochs)
        if each and (learning := ceil(epochs / each)) < FEW_STAGES:
            stages = "the last stage" if learning == 1 else f"the last {learning} stages"
            yield (
                f"unfreezing.stage_epochs: {each:g} lets only {stages} of the backbone begin to learn within "
                f"budget.epochs, {sweep.budget.epochs:,}; lower it, raise budget.epochs, or freeze the rest with "
                "trainable: last_stage"
            )


def _settings_of_what_is_frozen(sweep: SweepConfig) -> Iterator[str]:
    """Tell of settings for parts of the network that no trial trains."""
    search = sweep.search
    trainable = "all" if len(set(options(search.trainable))) > 1 else options(search.trainable)[0]
    head_first, stages_wait = (
        any(highest(getattr(option, name)) > 0 for option in options(search.unfreezing))
        for name in ("head_epochs", "stage_epochs")
    )
    without_effect = {
        "unfreezing": trainable == "head" and (head_first or stages_wait),
        "layer_decay": trainable == "head" and lowest(search.layer_decay) < 1,
        "drop_rate": trainable == "head" and highest(search.drop_rate) > 0,
        "drop_path_rate": trainable == "head" and highest(search.drop_path_rate) > 0,
        "unfreezing.stage_epochs": trainable == "last_stage" and stages_wait,
    }
    learning = "the head learns" if trainable == "head" else "the head and the last stage learn"
    for setting in (name for name, wasted in without_effect.items() if wasted):
        yield (
            f"search.{setting} has no effect with trainable: {trainable}, where only {learning}; remove it, or "
            "use trainable: all"
        )


def _nothing_to_fuse(sweep: SweepConfig) -> Iterator[str]:
    """Tell where trials are to be trained together and none can be."""
    search: Any = sweep.search
    heads = "head" in options(search.trainable) and set(options(search.pretrained)) != {False}
    if sweep.features.fuse > 1 and not (heads and sweep.features.cache and lowest(search.ema) == 0):
        yield (
            f"features.fuse: {sweep.features.fuse} trains heads on the stored values of pretrained backbones together, "
            "and no trial here trains such a head: a worker gets that many trials and trains them one after another; "
            "remove it"
        )


def _frozen_without_weights(sweep: SweepConfig) -> Iterator[str]:
    """Tell where only a part of a network learns, and the rest stays as it was drawn at random."""
    search: Any = sweep.search
    parts = [part for part in options(search.trainable) if part != "all"]
    if parts and set(options(search.pretrained)) == {False}:
        yield (
            f"search.trainable: {parts[0]} leaves the rest of the backbone as it is, and with pretrained: false that "
            "is random; set search.pretrained: true or a file of weights, or use trainable: all"
        )


def _stored_stages(sweep: SweepConfig) -> Iterator[str]:
    """Tell where the output of the first stages is to be stored, and no trial uses it or many need another one."""
    if not sweep.features.last_stage:
        return
    search: Any = sweep.search
    if "last_stage" not in options(search.trainable) or set(options(search.pretrained)) == {False}:
        rule = "features.last_stage has no effect without search.trainable: last_stage and pretrained weights"
        yield f"{rule}; set both, or remove it"
        return
    needs_images = {
        "progressive_resizing": highest(search.progressive_resizing) < 1,
        "augment.cutmix": all(lowest(option.cutmix) > 0 for option in options(search.augment)),
        "teacher": all(option.name != "none" for option in options(search.teacher)),
    }
    for setting in (name for name, needed in needs_images.items() if needed):
        yield f"features.last_stage has no effect with search.{setting}, which needs images in each epoch; remove one"
    drawn = [name for name, _ in parameters(search.augment, "augment") if name.rpartition(".")[2] not in MIXING]
    if drawn:
        yield (
            f"features.last_stage stores the images again for each value of search.{' and '.join(drawn)}, which takes "
            "disk and time (`sweeper plan` counts one value); give one value, or set features.last_stage to false"
        )


def _compared_before_they_learn(sweep: SweepConfig) -> Iterator[str]:
    """Tell of trials that pause, and are chosen from, while they still warm up or the head alone learns."""
    pauses = rungs(sweep.pruner, sweep.budget.epochs) if isinstance(sweep.pruner, PromoteConfig) else ()
    if not pauses:
        return
    waits = {
        "scheduler.warmup_epochs": [option.warmup_epochs for option in options(sweep.search.scheduler)],
        "unfreezing.head_epochs": [option.head_epochs for option in options(sweep.search.unfreezing)],
    }
    for name, found in waits.items():
        if (longest := max(highest(each) for each in found)) >= pauses[0]:
            later = ceil(longest) + pauses[0]
            remedy = f"let them pause later, pruner: {{name: promote, rungs: [{later}]}}, or take `pruner: median`"
            yield (
                f"search.{name} is up to {longest:,g}, and `pruner: promote` chooses after epoch {pauses[0]:,} which "
                f"trials go on, when they have hardly learned; {remedy if later < sweep.budget.epochs else 'lower it'}"
            )


def _stopped_before_they_learn(sweep: SweepConfig) -> Iterator[str]:
    """Tell of patience that may end while the head alone learns, which soon gets no better."""
    waits = max(highest(option.head_epochs) for option in options(sweep.search.unfreezing))
    if not waits:
        return
    plateaus = [option for option in options(sweep.search.scheduler) if option.name == "reduce_on_plateau"]
    impatient = {
        "budget.patience": sweep.budget.patience is not None and sweep.budget.patience <= waits,
        "search.scheduler.patience": any(lowest(option.patience) < waits for option in plateaus),
    }
    ends = {
        "budget.patience": "the trial may end",
        "search.scheduler.patience": "the learning rate may fall",
    }
    for key in (key for key, soon in impatient.items() if soon):
        yield (
            f"search.unfreezing.head_epochs is up to {waits:g}: because of {key}, {ends[key]} before the backbone "
            f"begins to learn; raise {key} above {waits:g}"
        )


def _averages_alike(sweep: SweepConfig, images: Labelled) -> Iterator[str]:
    """Tell of decays of the average of the weights that are the same in a training as short as this one."""
    steps = sweep.budget.epochs * ceil(len(images.splits["train"]) / lowest(sweep.search.batch_size))
    most, ema = largest_ema(steps), sweep.search.ema
    above = [value for value in options(ema) if not isinstance(value, FloatRange) and value > most]
    if len(above) < 2 and not any(isinstance(value, FloatRange) and value.ends[1] > most for value in options(ema)):
        return
    several = len(above) > 1
    alike = " and ".join(f"{value:g}" for value in above) if several else f"all values above {most:.3g}"
    remedy = "give one of them" if several else "lower the upper end to that"
    yield (
        f"search.ema: {alike} are the same in trials of {steps:,} steps or fewer, whose average reaches back over "
        f"about {1 / (1 - most):,.0f} steps at most (docs/search_space.md); {remedy}"
    )


def _too_few_complete_to_stop(sweep: SweepConfig) -> Iterator[str]:
    """Tell of an end that waits for more complete trials than there will be."""
    stop, pruner = sweep.budget.stop_when, sweep.pruner
    if stop is None or not isinstance(pruner, PromoteConfig):
        return
    if (complete := int(pruner.keep * sweep.budget.trials)) < stop.trials:
        yield (
            f"budget.stop_when waits for {stop.trials:,} complete trials, and with `pruner: promote` about "
            f"{complete:,} of {sweep.budget.trials:,} come to their end; raise budget.trials, or take `pruner: median`"
        )


def _small_classes(images: Labelled) -> Iterator[str]:
    counts = np.bincount(images.labels[images.splits["train"]], minlength=len(images.classes))
    small = [
        f"{name} ({count})"
        for name, count in zip(images.classes, counts.tolist(), strict=True)
        if 0 < count <= FEW_IMAGES
    ]
    if small:
        yield (
            f"{FEW_IMAGES} training images or fewer in {len(small):,} of {len(images.classes):,} classes, too few to "
            f"learn from; add some, or leave the class out:\n{enumerated(small, MOST_CLASSES_TOLD)}"
        )

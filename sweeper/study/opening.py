"""What a study is about to do, and what it takes for granted about its data: gathered before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeper.config.engine import RayConfig, SimulateConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.pruner import PromoteConfig, rungs
from sweeper.config.searched import largest, options, searched, smallest
from sweeper.config.space import IntRange
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import hide_credentials
from sweeper.data.file_facts import FileFacts
from sweeper.data.index import ImageIndex
from sweeper.data.listing import enumerated
from sweeper.data.notes import GIVEN, Notes
from sweeper.data.prepare import Prepared
from sweeper.data.sampling import training_bounds
from sweeper.data.splitting import Rows
from sweeper.safeguards.quantity import amount, quantity
from sweeper.search.untried import trials_of
from sweeper.study.doubts import MOST_CLASSES_TOLD, Labelled, doubts, doubts_of_settings

FEW_TO_JUDGE_BY = 50
"""Validation images below which one of them moves the accuracy by more than 2 %."""

PRUNER = "pruner"
"""The subject of the fact that says which one is taken."""

ENLARGED, REDUCED = 1.5, 6.0
"""How many times larger or smaller than the pictures an image_size that nobody chose gets a line."""


@dataclass(frozen=True)
class Opening:
    """What is shown before the first trial: facts, each with its subject, and warnings with their remedy.

    `left_s` gives the seconds until the deadline, where there is one.
    """

    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    left_s: Callable[[], float] | None = None


def opening(sweep: SweepConfig, prepared: Prepared, workers: str | None) -> Opening:
    """Gather what a user should know of a study before it trains; `workers` as in `run_sweep`."""
    images, notes = prepared.images, prepared.index.notes
    facts = [
        ("goal", _goal(sweep)),
        *(("images" if not place else "", line) for place, line in enumerate(_splits(images, notes))),
        ("pictures", _pictures(sweep, prepared.files)),
        *_depth(sweep, prepared.files),
        *(("files" if not place else "", fact) for place, fact in enumerate(notes.facts())),
        ("device", _device(sweep, workers)),
        ("steps", _steps(sweep, len(images.splits["train"]))),
        *(("searched" if not place else "", line) for place, line in enumerate(_searched(sweep))),
        *_pruner(sweep),
    ]
    warnings = [*_warnings(sweep, images, notes), *_image_size_by_default(sweep, prepared.files)]
    return Opening(tuple(facts), tuple(warnings))


def opening_before_decoding(sweep: SweepConfig, index: ImageIndex, workers: str | None) -> Opening:
    """Gather of that what the files' names and labels say, before any image is opened."""
    facts = [
        ("goal", _goal(sweep)),
        *(("images" if not place else "", line) for place, line in enumerate(_splits(index, index.notes))),
        *(("files" if not place else "", fact) for place, fact in enumerate(index.notes.facts())),
        ("device", _device(sweep, workers)),
        ("steps", _steps(sweep, len(index.splits["train"]))),
        *(("searched" if not place else "", line) for place, line in enumerate(_searched(sweep))),
        *_pruner(sweep),
    ]
    return Opening(tuple(facts), tuple(_warnings(sweep, index, index.notes)))


def _pruner(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    """Say which pruner is taken where none is named, unless it is the plain one."""
    if "pruner" not in sweep.model_fields_set and isinstance(sweep.pruner, PromoteConfig):
        timed = sweep.budget.time is not None  # which may leave them fewer epochs
        first = "a tenth of their epochs" if timed else f"epoch {rungs(sweep.pruner, sweep.budget.epochs)[0]}"
        told = f"trials pause after {first}, then the best {sweep.pruner.keep:.0%} go on to their end"
        yield PRUNER, f"promote, since none is named: {told} (docs/pruning.md)"


def with_pruner_as_begun(opening: Opening, sweep: SweepConfig, begun: SweepConfig) -> Opening:
    """Let an opening name the pruner that a study began with, where its file names none and would get another one."""
    if sweep.pruner == begun.pruner:
        return opening
    others = (fact for fact in opening.facts if fact[0] != PRUNER)
    return replace(opening, facts=(*others, (PRUNER, f"{begun.pruner.name}, with which the study began")))


def _warnings(sweep: SweepConfig, images: Labelled, notes: Notes) -> Iterator[str]:
    yield from notes.warnings()
    yield from _no_validation_split(sweep, notes)
    yield from _absent_classes(images)
    yield from _few_to_judge_by(images)
    yield from _large_batches(sweep, len(images.splits["train"]))
    yield from _nothing_searched(sweep)
    yield from doubts(sweep, images)


def simulated_opening(sweep: SweepConfig, engine: SimulateConfig, workers: str | None) -> Opening:
    """Gather what a user should know of a study in which nothing is trained."""
    number = "1" if workers in (None, "auto") else workers
    curves = f"the recorded curves of {engine.curves}" if engine.curves else "a family of curves"
    drawn = f"{number} worker{'s' * (number != '1')}, epochs of about {engine.epoch:g} s; all by seed {engine.seed}"
    facts = [
        ("simulated", "nothing is trained and no images are read: the results are of no use but to try sweeper out"),
        ("goal", _goal(sweep)),
        ("engine", f"trials follow {curves} in virtual time; {drawn}"),
        *(("searched" if not place else "", line) for place, line in enumerate(_searched(sweep))),
        *_pruner(sweep),
    ]
    return Opening(tuple(facts), (*_nothing_searched(sweep), *doubts_of_settings(sweep)))


def _goal(sweep: SweepConfig) -> str:
    goals = ", ".join(f"{goal.metric} ({goal.direction}d)" for goal in sweep.goals)
    trials, epochs = trials_of(sweep), sweep.budget.epochs
    all_of_them = ", all that the search space holds," if trials < sweep.budget.trials else ""
    number = f"{quantity(trials, 'trial')}{all_of_them}"
    as_many = ""
    if sweep.budget.open_ended and trials == sweep.budget.trials:
        number, as_many = "trials", ", as many as fit into the time"
    folds = f" on each of {sweep.dataset.folds} folds, then on all images" if sweep.dataset.folds else ""
    return f"{goals}; {number} of up to {quantity(epochs, 'epoch')}{folds}{as_many}"


def _splits(images: Labelled, notes: Notes) -> Iterator[str]:
    """Tell of each split its images, its classes and where it comes from; of folds how large they are."""
    if images.folds:
        yield _folds(images, notes)
    for split, rows in images.splits.items():
        if images.folds and split != "test":
            continue
        counts = np.bincount(images.labels[rows], minlength=len(images.classes))
        low, high = counts[counts > 0].min(), counts.max()
        spread = f"{low:,} to {high:,}" if low < high else f"{low:,}"
        origin = notes.origin.get(split, GIVEN)
        yield f"{split} {len(rows):,} of {(counts > 0).sum():,} classes, {spread} each: {origin}"
    if "test" not in images.splits:
        yield "test none"


def _folds(images: Labelled, notes: Notes) -> str:
    sizes, rows = sorted(map(len, images.folds)), np.concatenate(images.folds)
    counts = np.bincount(images.labels[rows], minlength=len(images.classes))
    spread = f"{sizes[0]:,} to {sizes[-1]:,}" if sizes[0] < sizes[-1] else f"{sizes[0]:,}"
    sources = "all images but the test split" if "test" in images.splits else "all images"
    given = ", those of the given validation split too" if notes.pooled else ""
    return (
        f"{len(sizes)} folds of {spread}, of {len(rows):,} images and {(counts > 0).sum():,} classes: "
        f"{sources}{given}; each fold is validated once and trained on otherwise"
    )


def _pictures(sweep: SweepConfig, files: FileFacts) -> str:
    sides = f"{files.smallest_side:,} to {files.largest_side:,}, mostly about {files.median_side:,}"
    if files.smallest_side == files.largest_side:
        sides = f"{files.median_side:,}"
    stored, shape = sweep.dataset.stored_size, sweep.dataset.resize
    kept = f"kept at {stored}, " if stored else ""
    return f"{sides} pixels on the shorter side; {kept}trained at {_sizes(sweep)} by {shape}"


def _sizes(sweep: SweepConfig) -> str:
    low, high = smallest(sweep.search.image_size), largest(sweep.search.image_size)
    return f"{low}" if low == high else f"{low} to {high}"


def _depth(sweep: SweepConfig, files: FileFacts) -> Iterator[tuple[str, str]]:
    if files.deep:
        why = "as dataset.bits says" if sweep.dataset.bits else f"since their largest value is {files.largest:,}"
        taken = f"{files.bits} are taken, {why}; {(1 << files.bits) - 1:,} is white (dataset.bits)"
        deep = quantity(files.deep, "file has", "files have")
        yield "depth", f"{deep} more than 8 bits without saying how many are used: {taken}"


def _device(sweep: SweepConfig, workers: str | None) -> str:
    """Say where trials run, as far as that is known before the first worker answers."""
    if isinstance(sweep.engine, RayConfig):
        return _cluster(sweep, sweep.engine, workers)
    match workers, sweep.device:
        case "auto", _:
            number = "as many workers as fit in memory, found out while trials run"
        case None, "auto":
            number = "one worker on each GPU, or one on the CPU"
        case None, "cuda":
            number = "one worker on each GPU"
        case _:
            number = f"{workers or 1} worker{'s' * (workers not in (None, '1'))}"
    return f"{sweep.device}{_precision(sweep)}; {number}"


def _precision(sweep: SweepConfig) -> str:
    return "" if sweep.precision == "auto" else f" in {sweep.precision}"


def _cluster(sweep: SweepConfig, engine: RayConfig, workers: str | None) -> str:
    many = sweep.devices_per_trial
    most = f"at most {workers}" if workers not in (None, "auto") else "as many as have room"
    gpus = "a GPU where there is one" if many == 1 else f"{many} GPUs where there are any"
    gpus = gpus if engine.gpus_per_trial is None else amount(engine.gpus_per_trial, "GPU")
    way = f"through {hide_credentials(engine.shared)}" if engine.shared else "through Ray"
    share = f"{amount(engine.cpus_per_trial, 'CPU')} and {gpus}"
    several = ", or of several where no node has room for all (engine.spread)" if engine.spread else ""
    devices = f"; each trial on {many} devices of one node{several}" if many > 1 else ""
    where = f"{sweep.device}{_precision(sweep)}, on the Ray cluster at {engine.address}"
    return f"{where}; workers: {most}, each with {share}{devices}; files travel {way}"


def _steps(sweep: SweepConfig, images: int) -> str:
    sizes = smallest(sweep.search.batch_size), largest(sweep.search.batch_size)
    most, fewest = (len(training_bounds(images, size)) for size in sizes)
    return f"{fewest:,} an epoch" if fewest == most else f"{fewest:,} to {most:,} an epoch, by batch_size"


def _searched(sweep: SweepConfig) -> list[str]:
    return [f"{name}: {values}" for name, values in searched(sweep.search)] or ["nothing"]


def _no_validation_split(sweep: SweepConfig, notes: Notes) -> Iterator[str]:
    """Tell of images of the user's own that are judged by a share of them that nobody chose."""
    origin = notes.origin.get("val", GIVEN)
    if sweep.dataset.path and origin != GIVEN and "val_fraction" not in sweep.dataset.model_fields_set:
        yield (
            f"no validation split is given: {origin}, is used for validation. Images that are nearly alike, such as "
            "those of one patient or video, may be on both sides; give a split, name what belongs together "
            "(dataset.group_column, dataset.group_from), or set dataset.val_fraction if a random share is right"
        )


def _absent_classes(images: Labelled) -> Iterator[str]:
    folds: dict[str, Rows] = {f"fold {number}": rows for number, rows in enumerate(images.folds, 1)}
    parts = folds | {split: rows for split, rows in images.splits.items() if split == "test" or not folds}
    for split, rows in parts.items():
        counts = np.bincount(images.labels[rows], minlength=len(images.classes))
        absent = [name for name, count in zip(images.classes, counts.tolist(), strict=True) if not count]
        if absent:
            yield (
                f"no {split} image for {len(absent):,} of {len(images.classes):,} classes, so that nothing is known of "
                f"them there; add some:\n{enumerated(absent, MOST_CLASSES_TOLD)}"
            )


def _few_to_judge_by(images: Labelled) -> Iterator[str]:
    count = sum(map(len, images.folds or (images.splits["val"],)))
    if count < FEW_TO_JUDGE_BY:
        yield (
            f"{count:,} validation images judge the trials, and each moves the accuracy by {1 / count:.1%}: "
            "differences of a few images are chance; use more, or train the best trials again with `sweeper confirm`"
        )


def _large_batches(sweep: SweepConfig, images: int) -> Iterator[str]:
    sizes = sorted({size for option in options(sweep.search.batch_size) for size in _ends(option) if size > images})
    if sizes:
        yield (
            f"batch_size {', '.join(map(str, sizes))} is more than the {images:,} training images: such a trial makes "
            "one step an epoch; use smaller batches"
        )


def _ends(option: Any) -> tuple[int, ...]:
    return option.bounds if isinstance(option, IntRange) else (option,)


def _nothing_searched(sweep: SweepConfig) -> Iterator[str]:
    if sweep.budget.trials > 1 and not any(True for _ in searched(sweep.search)):
        yield (
            f"nothing is searched: all {sweep.budget.trials} trials have the same settings and differ by their seed; "
            "give something under search a range or a choice, or set budget.trials: 1"
        )


def _image_size_by_default(sweep: SweepConfig, files: FileFacts) -> Iterator[str]:
    """Tell of a size that nobody chose and that is far from that of the pictures."""
    size = TrialConfig.model_fields["image_size"].default
    chosen = "image_size" in sweep.search.model_fields_set or sweep.dataset.stored_size
    if chosen or not files.median_side or files.median_side / REDUCED <= size <= files.median_side * ENLARGED:
        return
    how = "enlarged" if size > files.median_side else "reduced"
    yield (
        f"search.image_size is not set, and the pictures of {files.median_side:,} pixels are {how} to {size}, its "
        f"default; set search.image_size, for instance to {max(8, min(files.median_side, 224))}"
    )

"""The search space of a training that goes on from a trial: the trial's own configuration, and what is set anew.

It is a study of its own, most often of one trial, so that everything that serves studies serves it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.config.contradictions import of_epochs
from sweeper.config.document import Document
from sweeper.config.loading import NameCheck, validated
from sweeper.config.names_to_check import dotted
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError, Problem
from sweeper.study.source import SourceTrial

KEPT = (
    "task",
    "dataset",
    "objective",
    "seed",
    "device",
    "precision",
    "devices_per_trial",
    "compile",
    "cuda_graphs",
    "model_files",
    "features",
    "keep_optimizer",
)
UNFREEZING, RESIZING = "unfreezing", "progressive_resizing"
"""Settings that follow a trial's epochs: what is inherited does not begin again, what is set anew does."""

LONGEST_ORIGIN = 80  # characters of the source's name in that of the continuation


def continued_sweep(
    source: SourceTrial,
    overrides: Sequence[str],
    *,
    epochs: int | None,
    with_optimizer: bool,
    check_names: NameCheck | None = None,
) -> SweepConfig:
    """Return what is trained: the source's settings with the overrides, under a name of its own.

    The name follows from all of it, so that the same command finds the same study again, unless an
    override gives another. `budget.epochs` counts from the source's first epoch; `epochs` are those to
    come. Raises ConfigError.
    """
    document = Document(f"--from {source.name}", _space(source, epochs))
    sweep = validated(document, overrides, check_names)
    anew = set_anew(overrides)
    problems = [*_problems(source, sweep), *_epoch_problems(source, sweep, anew)]
    problems += _optimizer_problems(source, sweep) if with_optimizer else ()
    if problems:
        raise ConfigError([Problem(document.where(tuple(key.split("."))), key, rule) for key, rule in problems])
    if sweep.study != source.sweep.study:
        return sweep
    return sweep.model_copy(update={"study": _name(source, sweep, with_optimizer, anew)})


def set_anew(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return which settings that follow a trial's epochs begin with the first epoch to come."""
    keys = [override.partition("=")[0].strip() for override in overrides]
    return tuple(name for name in (UNFREEZING, RESIZING) if any(_sets(key, f"search.{name}") for key in keys))


def _sets(key: str, setting: str) -> bool:
    """Return whether an override of a key sets a setting, or a part of it."""
    return f"{setting}.".startswith(f"{key}.") or key.startswith(f"{setting}.")


def _space(source: SourceTrial, epochs: int | None) -> dict[str, Any]:
    sweep = source.sweep
    content = sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    budget = sweep.budget
    space = {name: content[name] for name in KEPT if name in content}
    space.get("objective", {}).pop("direction", None)  # which follows from the metric
    space["features"] = {**space.get("features", {}), "fuse": 1}
    more = epochs or source.own_epochs
    return {
        **space,
        "study": sweep.study,
        "budget": {"trials": 1, "epochs": source.row.epochs + more, "patience": budget.patience},
        "pruner": {"name": "none"},
        "search": {**source.config.model_dump(mode="json", exclude_defaults=True), "pretrained": False},
    }


def _problems(source: SourceTrial, sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    search, config = sweep.search, source.config
    only = f"the weights of {source.name} fit the network that they were trained in; leave it as it was"
    if search.backbone != config.backbone:
        yield "search.backbone", f"{only}, {config.backbone}"
    for name in ("hidden", "norm", "activation"):
        if getattr(search.head, name, None) != (kept := getattr(config.head, name)):
            yield f"search.head.{name}", f"{only}, {kept}; of the head only its dropout may change"
    if search.pretrained is not False:
        yield "search.pretrained", f"the weights are those of {source.name}; remove it, or run a study in place of this"
    if sweep.dataset.folds:
        yield "dataset.folds", f"the weights of {source.name} have seen images of each fold; remove it"
    if sweep.budget.epochs <= source.row.epochs:
        rule = f"counts from the first epoch of {source.name}, which has {source.row.epochs}; set a higher one"
        yield "budget.epochs", f"{rule}, or say with --epochs how many are to come; got {sweep.budget.epochs}"


def _epoch_problems(source: SourceTrial, sweep: SweepConfig, anew: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Tell which settings count more epochs than are to come."""
    before = source.row.epochs
    if sweep.budget.epochs > before:
        after = before if UNFREEZING in anew else source.unfreezing_after
        yield from ((dotted(key), rule) for key, rule in of_epochs(sweep, before, after))


def _optimizer_problems(source: SourceTrial, sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    """Tell which settings do not go with the kept state of an optimizer."""
    search, config = sweep.search, source.config
    kept = {
        "search.optimizer": (getattr(search.optimizer, "name", None), config.optimizer.name),
        "search.trainable": (search.trainable, config.trainable),
        "search.decay_norm_and_bias": (search.decay_norm_and_bias, config.decay_norm_and_bias),
        "search.layer_decay": (search.layer_decay, config.layer_decay),
    }
    for key, (new, old) in kept.items():
        if new != old:
            yield key, f"the optimizer's state of {source.name} goes with {old}; keep that, or go without it, got {new}"


def _name(source: SourceTrial, sweep: SweepConfig, with_optimizer: bool, anew: Sequence[str]) -> str:
    described = json.dumps([sweep.fingerprint(), sweep.budget.trials, with_optimizer, *anew], sort_keys=True)
    digest = hashlib.blake2b(described.encode(), digest_size=4).hexdigest()
    return f"{source.sweep.study[:LONGEST_ORIGIN]}-{source.row.number:04d}-{digest}"

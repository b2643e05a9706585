"""What each key of a search space allows and its keys together do not: settings of one task for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.config.document import Key
from sweeper.config.hyperparameters import ReduceOnPlateauConfig
from sweeper.config.space import Choice, IntRange
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import METRICS, ReconstructionConfig

SSIM_WINDOW = 11
WITHOUT_EFFECT = ("head", "label_smoothing")
"""What only a classifier has."""


def contradictions(sweep: SweepConfig) -> Iterator[tuple[Key, str]]:
    """Yield the key and the rule of every setting that does not go with the task."""
    name = sweep.task.name
    measured = METRICS[name]
    wanted: list[tuple[Key, Any]] = [(("objective", "metric"), sweep.objective.metric)]
    wanted += [(("search", "scheduler"), metric) for metric in _plateau_metrics(sweep.search.scheduler)]
    for key, metric in wanted:
        if metric not in measured:
            yield key, f"{metric} is not measured by the task {name}, only {', '.join(measured)}"
    if isinstance(sweep.task, ReconstructionConfig):
        yield from _of_reconstruction(sweep.search)


def _of_reconstruction(search: Any) -> Iterator[tuple[Key, str]]:
    for key in WITHOUT_EFFECT:
        if key in search.model_fields_set:
            yield ("search", key), "has no effect on the task reconstruction; remove it"
    if set(_options(search.trainable)) != {"all"}:
        yield ("search", "trainable"), "should be all for the task reconstruction, which has no head"
    smallest = min(size.bounds[0] if isinstance(size, IntRange) else size for size in _options(search.image_size))
    if smallest < SSIM_WINDOW:
        rule = f"SSIM looks through a window of {SSIM_WINDOW} pixels; the task reconstruction needs images of that size"
        yield ("search", "image_size"), f"{rule}, got {smallest}"


def _plateau_metrics(scheduler: Any) -> list[Any]:
    """Return the metrics that a schedule may look at."""
    named = [option for option in _options(scheduler) if getattr(option, "name", "") == "reduce_on_plateau"]
    default = ReduceOnPlateauConfig.model_fields["metric"].default
    return [metric for option in named for metric in _options(getattr(option, "metric", default))]


def _options(value: Any) -> tuple[Any, ...]:
    return value.choice if isinstance(value, Choice) else (value,)

"""What a study gets done, in a line: trials at work, images a second, how busy the GPUs are, what pruning saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.config.sweep import ObjectiveConfig
from sweeper.display.tables import duration
from sweeper.results import EpochMetrics
from sweeper.safeguards.quantity import quantity


@dataclass(frozen=True)
class Work:
    """What is measured of a study that runs.

    Attributes:
        images_per_s: In training, of all trials at work together, each in its latest epoch.
        gpus_busy: The share of time in which each GPU of this machine computes, in percent, whoever uses it.
        saved_s: Seconds of training that pruned trials did not take.
    """

    images_per_s: float = 0.0
    gpus_busy: Sequence[float] = ()
    saved_s: float = 0.0


def rate_of(metrics: EpochMetrics) -> float:
    """Return the images a second of an epoch; of trials that are trained together each has its part."""
    return metrics.values.get("images_per_s", 0.0) / metrics.at_once


def work_line(objective: ObjectiveConfig, state: str, work: Work) -> str:
    """Return the objective, the `state` of the study and what is known of its work."""
    rate = f", {work.images_per_s:,.0f} images/s" if work.images_per_s else ""
    facts = [f"{objective.metric}, {objective.direction}d", f"{state}{rate}"]
    busy = work.gpus_busy
    if busy:
        least = f" on average, the least busy {min(busy):.0f}%" if len(busy) > 1 else ""
        facts.append(f"{quantity(len(busy), 'GPU')} {sum(busy) / len(busy):.0f}% busy{least}")
    if work.saved_s:
        facts.append(f"pruning saved {duration(work.saved_s)}")
    return "; ".join(filter(None, facts))

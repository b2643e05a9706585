"""What a study gets done, in a line: trials at work, images a second, how busy the GPUs are, what pruning saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.config.sweep import ObjectiveConfig
from sweeper.display.tables import duration
from sweeper.results import TrialRow, TrialState

RATE = "images_per_s"
"""What an epoch's metrics call the images a second of its training."""


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


def saved_seconds(rows: Iterable[TrialRow], of_epochs: int) -> float:
    """Return the seconds that pruned trials would have taken for the rest of their epochs, at the pace of each."""
    pruned = [row for row in rows if row.state is TrialState.PRUNED]
    return sum(saved_by(row.epochs, of_epochs, row.seconds) for row in pruned)


def saved_by(epochs: int, of_epochs: int, seconds: float | None) -> float:
    """Return what ending a trial after `epochs` has saved; nothing is known of one that had none."""
    return max(0, of_epochs - epochs) * seconds / epochs if epochs and seconds else 0.0


def work_line(objective: ObjectiveConfig, state: str, work: Work) -> str:
    """Return the objective, the `state` of the study and what is known of its work."""
    rate = f", {work.images_per_s:,.0f} images/s" if work.images_per_s else ""
    facts = [f"{objective.metric}, {objective.direction}d", f"{state}{rate}"]
    busy = work.gpus_busy
    if busy:
        several = f"s {sum(busy) / len(busy):.0f}% busy, the least {min(busy):.0f}%"
        facts.append(f"{len(busy)} GPU{several if len(busy) > 1 else f' {busy[0]:.0f}% busy'}")
    if work.saved_s:
        facts.append(f"pruning saved {duration(work.saved_s)}")
    return "; ".join(filter(None, facts))

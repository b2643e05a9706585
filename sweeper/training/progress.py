"""How far a trial has come: its history, its best epoch and what it has to show."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from sweeper.config.sweep import ObjectiveConfig
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from sweeper.scores.right import Bits


@dataclass
class Progress:
    """What a trial has reached after its last finished epoch."""

    history: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    best_before: int | None = None  # the best epoch before the last one: that of the checkpoint before
    exhibits: dict[str, npt.NDArray[Any]] = field(default_factory=dict)  # of the first, the best and the last epoch
    right: list[Bits] = field(default_factory=list)  # for each epoch, an average of some last, which images are right
    steps: int = 0  # optimizer updates
    seconds: float = 0.0
    before: int = 0  # epochs of the trial that this one goes on from
    averaged: int = 1  # how many epochs lead, at most
    leading: list[int] = field(default_factory=list)  # epochs to be averaged, best first; none where one alone leads
    leading_before: list[int] = field(default_factory=list)  # those of the checkpoint before

    @property
    def epochs(self) -> int:
        """The number of the last epoch."""
        return self.before + len(self.history)

    def now_ms(self) -> int:
        """Return the time for an epoch that ends now, after that of the last one, though the clock was set back.

        MLflow puts the points of a metric in the order of their times.
        """
        last = self.history[-1].timestamp_ms if self.history else 0
        return max(int(time.time() * 1000), last + 1)

    def add(
        self,
        metrics: EpochMetrics,
        exhibit: npt.NDArray[Any],
        objective: ObjectiveConfig,
        right: Bits | None = None,
    ) -> bool:
        """Take in a finished epoch; True when it is the best so far."""
        value = metrics.values[objective.metric]
        best = objective.better(value, self.best_value)
        self.best_before = self.best_epoch
        self.history.append(metrics)
        if right is not None:
            self.right.append(right)
        self.exhibits["last"] = exhibit
        self.exhibits.setdefault("first", exhibit)
        if best:
            self.best_epoch, self.best_value = metrics.epoch, value
            self.exhibits["best"] = exhibit
        if self.averaged > 1:
            self.leading_before, self.leading = self.leading, self._leaders(objective)
        return best

    def _leaders(self, objective: ObjectiveConfig) -> list[int]:
        """Return the best epochs so far, the best one first; of equal ones the earlier comes first."""
        ranked = sorted(
            self.history,
            key=lambda metrics: metrics.values[objective.metric],
            reverse=objective.direction == "maximize",
        )
        return [metrics.epoch for metrics in ranked[: self.averaged]]

    def stalled(self, patience: int | None) -> bool:
        """Return whether the objective has not improved for `patience` epochs."""
        return patience is not None and self.epochs - (self.best_epoch or self.before) >= patience

    def outcome(self, state: TrialState, reason: str | None = None, *, feasible: bool = True) -> TrialOutcome:
        """Return how the trial ends if it ends now. One that failed, or does not fit in memory, has no best."""
        scored = feasible and state is not TrialState.FAILED
        best = self.history[self.best_epoch - self.before - 1] if self.best_epoch and scored else None
        last = self.history[-1].timestamp_ms if self.history else 0
        return TrialOutcome(
            state=state,
            feasible=feasible,
            epochs=self.epochs,
            epochs_before=self.before,
            best_epoch=best.epoch if best else None,
            best_value=self.best_value if best else None,
            best_metrics=_quality(best.values) if best else {},
            reason=reason,
            seconds=self.seconds,
            timestamp_ms=last,
        )

    def copy(self) -> Self:
        """Return what does not change while the trial goes on."""
        return replace(self, history=list(self.history), exhibits=dict(self.exhibits), right=list(self.right))

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, so that a checkpoint loads without unpickling code."""
        return {
            "history": [metrics.model_dump() for metrics in self.history],
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_before": self.best_before,
            "exhibits": {name: torch.from_numpy(exhibit) for name, exhibit in self.exhibits.items()},
            "right": torch.from_numpy(np.stack(self.right)) if self.right else None,
            "steps": self.steps,
            "seconds": self.seconds,
            "before": self.before,
            "averaged": self.averaged,
            "leading": self.leading,
            "leading_before": self.leading_before,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        history = [EpochMetrics.model_validate(metrics) for metrics in state["history"]]
        exhibits = {name: exhibit.numpy() for name, exhibit in state["exhibits"].items()}
        right = state.get("right")
        kept = [] if right is None else list(right.numpy())
        return cls(**{**state, "history": history, "exhibits": exhibits, "right": kept})


def _quality(values: dict[str, float]) -> dict[str, float]:
    """Return the metrics that judge the model, without time, memory and learning rate."""
    return {name: value for name, value in values.items() if name.startswith(("train/", "val/"))}

"""The learning rate over a trial: warm-up, a policy, and torch's own reduction on a plateau."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sweeper.config.hyperparameters import (
    ConstantConfig,
    CosineConfig,
    ExponentialConfig,
    OneCycleConfig,
    ReduceOnPlateauConfig,
    SchedulerConfig,
    StepConfig,
)


class LearningRate:
    """Sets the learning rate of every parameter group before every optimizer step.

    Except on a plateau the rate is a function of the step alone. A group's base rate is the one it
    has when this is built; what continues a trial takes it from the state.

    Args:
        optimizer: Freshly built, so that its groups carry their base rates.
        config: The policy and its warm-up.
        steps_per_epoch: Optimizer steps in an epoch.
        epochs: Planned length of the trial.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: SchedulerConfig, *, steps_per_epoch: int, epochs: int):
        self._optimizer = optimizer
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._steps = steps_per_epoch * epochs
        self._base = [float(group["lr"]) for group in optimizer.param_groups]
        self._plateau = build_plateau(config, self._base)
        self.before_step(0)

    @property
    def lr(self) -> float:
        """The rate now of the first parameter groups: the backbone's, or the head's where only that learns.

        Where layers have rates of their own it is the one that theirs are parts of.
        """
        groups = self._optimizer.param_groups
        part = groups[0].get("part")
        # A group at the floor of a schedule is above its part of the rate, so the smallest quotient is the rate.
        return min(float(one["lr"]) / float(one.get("layer_scale", 1.0)) for one in groups if one.get("part") == part)

    def before_step(self, step: int) -> None:
        """Set the rates for an optimizer step, counted from 0 over the whole trial."""
        self._step = step
        warm = warmup(step, self._config.warmup_epochs * self._steps_per_epoch)
        for group, rate in zip(self._optimizer.param_groups, self._rates(step), strict=True):
            group["lr"] = rate * warm

    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a finished epoch, and set the rates of the next step.

        Only reduction on a plateau looks at the metrics.
        """
        if self._plateau is not None and isinstance(self._config, ReduceOnPlateauConfig):
            self._plateau.threshold = threshold_towards_better(self._plateau, self._config.threshold)
            self._plateau.step(metrics[self._config.metric])
        self.before_step(self._step + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return all that continuing needs, as plain Python values."""
        plateau = None
        if self._plateau is not None:
            plateau = {"counts": self._plateau.state_dict(), "rates": self._rates(self._step)}
        return {"step": self._step, "base": list(self._base), "plateau": plateau}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another one of the same configuration stood."""
        self._base = list(state["base"])
        self._plateau = build_plateau(self._config, self._base)
        if self._plateau is not None:
            self._plateau.load_state_dict(dict(state["plateau"]["counts"]))
            for group, rate in zip(self._plateau.optimizer.param_groups, state["plateau"]["rates"], strict=True):
                group["lr"] = rate
        self.before_step(state["step"])

    def _rates(self, step: int) -> list[float]:
        """Return the rate of every group, warm-up left aside."""
        if self._plateau is not None:
            return [float(group["lr"]) for group in self._plateau.optimizer.param_groups]
        return [rate_at(self._config, base, step, self._steps_per_epoch, self._steps) for base in self._base]


def build_plateau(config: SchedulerConfig, base: list[float]) -> ReduceLROnPlateau | None:
    """Return torch's scheduler for groups of the given base rates, on an optimizer that trains nothing.

    The real optimizer's rates are warmed up, and reducing those would reduce the warm-up with them.
    """
    if not isinstance(config, ReduceOnPlateauConfig):
        return None
    shadow = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in base])
    return ReduceLROnPlateau(
        shadow,
        mode="min" if config.metric.endswith("/loss") else "max",
        factor=config.factor,
        patience=config.patience,
        threshold=config.threshold,
        cooldown=config.cooldown,
        min_lr=config.min_lr,
        eps=0.0,  # a rate is reduced however small it is
    )


def threshold_towards_better(plateau: ReduceLROnPlateau, threshold: float) -> float:
    """Return torch's relative threshold: below 0 where the best value is, so that what is better lies above it."""
    return -threshold if plateau.mode == "max" and -math.inf < plateau.best < 0 else threshold


def warmup(step: int, warmup_steps: float) -> float:
    """Return the factor of linear warm-up: above 0 at the first step, 1 from the last step of it on."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def rate_at(config: SchedulerConfig, base: float, step: int, steps_per_epoch: int, steps: int) -> float:
    """Return the learning rate of a policy that depends on progress alone.

    Args:
        config: The policy.
        base: The configured learning rate.
        step: From 0.
        steps_per_epoch: Optimizer steps in an epoch.
        steps: Of the whole trial.
    """
    epoch = step // steps_per_epoch
    match config:
        case StepConfig():
            return float(base * config.factor ** (epoch // config.every))
        case ExponentialConfig():
            return float(base * config.factor**epoch)
        case CosineConfig():
            return between(base, min(base, config.min_lr), step / steps)
        case OneCycleConfig():
            return one_cycle(config, base, step, steps)
        case ConstantConfig() | ReduceOnPlateauConfig():
            return base


def one_cycle(config: OneCycleConfig, base: float, step: int, steps: int) -> float:
    """Return the rate of the one-cycle policy, as torch's OneCycleLR with two phases has it; `base` in an only step."""
    if steps == 1:
        return base
    first = base / config.initial_divisor
    peak = config.rise * steps - 1  # the step at which `base` is reached
    if step < peak:
        return between(first, base, step / peak)
    return between(base, first / config.final_divisor, (step - peak) / (steps - 1 - peak))


def between(start: float, end: float, progress: float) -> float:
    """Go from `start` to `end` along half a cosine as progress goes from 0 to 1 (arXiv 1608.03983)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

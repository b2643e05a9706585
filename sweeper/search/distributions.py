"""Optuna's distributions of the parameters in a search space, the ones that a suggestion would store."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeper.config.space import FloatRange, IntRange
from sweeper.config.space_membership import Node


def distribution_of(node: Node) -> BaseDistribution:
    match node:
        case FloatRange(ends=(low, high)):
            return FloatDistribution(low, high, log=node.log, step=node.step)
        case IntRange(ends=(low, high)):
            return IntDistribution(low, high, log=node.log, step=node.step)
        case _:
            return CategoricalDistribution(node)

"""The grid sampler's combinations."""

from __future__ import annotations

import optuna
import pytest

from sweeper.config.space import SearchSpace
from sweeper.errors import ConfigError
from sweeper.search.grid import grid
from sweeper.search.suggest import suggest

FINITE = {
    "backbone": {"choice": ["a", "b"]},
    "batch_size": {"int": [16, 48], "step": 16},
    "optimizer": {"choice": ["sgd", {"name": "adam", "lr": {"choice": [0.1, 0.2]}}]},
    "drop_rate": {"float": [0.0, 0.3], "step": 0.1},
}


def test_every_combination_comes_once_and_branches_multiply_only_where_they_are() -> None:
    combinations = grid(SearchSpace.model_validate(FINITE), seed=0)
    assert len(combinations) == 2 * 3 * (1 + 2) * 4
    assert len({str(sorted(combination.items())) for combination in combinations}) == len(combinations)


def test_each_combination_is_one_that_optuna_accepts() -> None:
    space = SearchSpace.model_validate(FINITE)
    for combination in grid(space, seed=0):
        suggest(space, optuna.trial.FixedTrial(combination))


def test_the_order_follows_the_seed() -> None:
    space = SearchSpace.model_validate(FINITE)
    assert grid(space, 1) == grid(space, 1) != grid(space, 2)


def test_a_range_without_steps_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"search\.weight_decay.*step"):
        grid(SearchSpace.model_validate({"backbone": "r", "weight_decay": {"float": [0, 1]}}), 0)


def test_a_grid_beyond_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.search.grid.LARGEST_GRID", 1000)
    space = SearchSpace.model_validate(
        {"backbone": "r", "batch_size": {"int": [1, 1000]}, "image_size": {"int": [8, 1000]}}
    )
    with pytest.raises(ConfigError, match="1,000"):
        grid(space, 0)


def test_a_space_without_distributions_has_one_combination() -> None:
    assert grid(SearchSpace.model_validate({"backbone": "r"}), 0) == [{}]


def test_a_range_of_one_value_is_finite() -> None:
    space = SearchSpace.model_validate({"backbone": {"choice": ["a", "b"]}, "weight_decay": {"float": [0.01, 0.01]}})
    assert [found["weight_decay"] for found in grid(space, 0)] == [0.01, 0.01]

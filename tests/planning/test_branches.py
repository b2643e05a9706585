from __future__ import annotations

from typing import Any

from sweeper.config.space import SearchSpace
from sweeper.planning.branches import branches


def test_every_option_of_every_choice_is_taken_also_those_inside_options() -> None:
    space: dict[str, Any] = {
        "backbone": {"choice": ["a", "b", "c"]},
        "optimizer": {
            "choice": [
                {"name": "adamw", "lr": {"float": [1e-4, 1e-2]}, "betas": [0.9, {"choice": [0.95, 0.999]}]},
                {"name": "sgd", "lr": 0.1, "nesterov": {"choice": [True, False]}},
            ]
        },
    }
    found = branches(SearchSpace.model_validate(space))
    taken = {(name, option) for choices, _ in found for name, option in choices.items()}
    assert {("backbone", "a"), ("backbone", "b"), ("backbone", "c")} <= taken
    assert {("optimizer", "adamw"), ("optimizer", "sgd")} <= taken
    assert {config.optimizer.name for _, config in found} == {"adamw", "sgd"}
    assert ("optimizer.adamw.betas[1]", 0.999) in taken
    assert ("optimizer.sgd.nesterov", False) in taken
    assert len(found) <= 8


def test_a_space_without_choices_is_one_branch() -> None:
    [(taken, config)] = branches(SearchSpace.model_validate({"backbone": "a", "batch_size": {"int": [8, 64]}}))
    assert taken == {}
    assert config.batch_size == 8

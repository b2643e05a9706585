"""The searchable models mirror the plain ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.space import Choice, FloatRange, IntRange, SearchSpace, searchable


def test_every_field_of_a_trial_can_be_searched_and_defaults_agree() -> None:
    assert set(SearchSpace.model_fields) == set(TrialConfig.model_fields)
    plain = TrialConfig(backbone="resnet18")
    assert SearchSpace.model_validate({"backbone": "resnet18"}).model_dump() == plain.model_dump()


def test_a_field_takes_a_value_a_range_or_a_choice() -> None:
    space = SearchSpace.model_validate(
        {
            "backbone": {"choice": ["resnet18", "resnet34"]},
            "weight_decay": {"float": [1e-5, 1e-2], "log": True},
            "batch_size": {"int": [16, 64], "step": 16},
            "gradient_clip": {"choice": [None, 1.0]},
        }
    )
    assert isinstance(space.backbone, Choice)  # type: ignore[attr-defined]
    assert isinstance(space.weight_decay, FloatRange)  # type: ignore[attr-defined]
    assert isinstance(space.batch_size, IntRange)  # type: ignore[attr-defined]


def test_options_of_a_choice_hold_distributions_of_their_own() -> None:
    space = SearchSpace.model_validate(
        {"backbone": "r", "optimizer": {"choice": ["sgd", {"name": "adam", "lr": {"float": [1e-4, 1e-3]}}]}}
    )
    sgd, adam = space.optimizer.choice  # type: ignore[attr-defined]
    assert sgd.name == "sgd"
    assert isinstance(adam.lr, FloatRange)


def test_whole_numbers_take_no_real_range() -> None:
    with pytest.raises(ValidationError, match="batch_size"):
        SearchSpace.model_validate({"backbone": "r", "batch_size": {"float": [1, 2]}})


def test_the_searchable_form_of_a_model_is_made_once() -> None:
    assert searchable(TrialConfig) is SearchSpace

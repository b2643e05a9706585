"""The searchable models mirror the plain ones."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from pydantic import ValidationError

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.searched import searched
from sweeper.config.space import Choice, FloatRange, IntRange, SearchSpace, searchable
from sweeper.search.distributions import distribution_of


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


def test_the_upper_end_of_a_range_is_what_its_steps_lead_to() -> None:
    search: Any = searchable(TrialConfig).model_validate(
        {
            "backbone": "r",
            "weight_decay": {"float": [0.1, 0.5], "step": 0.3},
            "label_smoothing": {"float": [0, 0.9], "step": 0.3},
            "batch_size": {"int": [16, 100], "step": 16},
        }
    )
    assert search.weight_decay.ends == (0.1, 0.4)
    assert search.label_smoothing.ends == (0, 0.9)
    assert search.batch_size.ends == (16, 96)
    assert dict(searched(search)) == {
        "weight_decay": "0.1 to 0.4 in steps of 0.3, which do not lead to 0.5",
        "label_smoothing": "0 to 0.9 in steps of 0.3",
        "batch_size": "16 to 96 in steps of 16, which do not lead to 100",
    }
    for node in (search.weight_decay, search.batch_size):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of Optuna
            found: Any = distribution_of(node)
        assert found.high == node.ends[1]


def test_steps_of_one_between_real_numbers_are_steps_and_too_many_are_refused() -> None:
    spaces = searchable(TrialConfig)
    search: Any = spaces.model_validate({"backbone": "r", "weight_decay": {"float": [0, 2.5], "step": 1}})
    assert dict(searched(search)) == {"weight_decay": "0 to 2 in steps of 1, which do not lead to 2.5"}
    with pytest.raises(ValidationError, match="more than 1,000,000,000,000,000,000 steps"):
        spaces.model_validate({"backbone": "r", "weight_decay": {"float": [0, 1e30], "step": 0.1}})


def test_a_logarithmic_range_has_no_steps() -> None:
    with pytest.raises(ValidationError, match="log and step"):
        searchable(TrialConfig).model_validate(
            {"backbone": "r", "weight_decay": {"float": [1, 10], "log": True, "step": 1}}
        )


def test_whole_numbers_take_no_real_range() -> None:
    with pytest.raises(ValidationError, match="batch_size"):
        SearchSpace.model_validate({"backbone": "r", "batch_size": {"float": [1, 2]}})


def test_the_searchable_form_of_a_model_is_made_once() -> None:
    assert searchable(TrialConfig) is SearchSpace

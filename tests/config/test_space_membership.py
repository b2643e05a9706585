"""From a configuration back to the parameters that a sampler would have had to suggest."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.space import SearchSpace
from sweeper.config.space_membership import fit
from sweeper.search.distributions import distribution_of
from sweeper.search.suggest import suggest

SPACE = SearchSpace.model_validate(
    {
        "backbone": {"choice": ["a", "b"]},
        "batch_size": {"int": [8, 64], "step": 8},
        "image_size": {"choice": [16, 32]},
        "weight_decay": {"float": [1e-5, 1e-2], "log": True},
        "drop_rate": {"float": [0, 0.5], "step": 0.1},
        "head": {"choice": [{"hidden": []}, {"hidden": [{"int": [8, 32]}, 16], "dropout": {"float": [0, 0.5]}}]},
        "optimizer": {
            "choice": [
                {"name": "adamw", "lr": {"float": [1e-4, 1e-2], "log": True}, "betas": [0.9, {"choice": [0.95, 0.99]}]},
                {"name": "adamw", "lr": 0.5},
                {"name": "sgd", "lr": {"float": [0.01, 0.3], "log": True}},
                "lion",
            ]
        },
        "gradient_clip": {"choice": [None, 1.0]},
        "scheduler": "cosine",
    }
)


@given(st.integers(0, 2**31))
def test_what_was_suggested_fits_and_gives_back_parameters_and_distributions(seed: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
    found = fit(SPACE, suggest(SPACE, trial).model_dump(mode="json"))
    assert found.misfits == []
    assert found.params == trial.params
    assert {name: distribution_of(node) for name, node in found.nodes.items()} == trial.distributions


def test_whole_numbers_of_a_key_with_real_values_fit_as_they_are_stored() -> None:
    content = {"backbone": "x", "augment": {"rotation": {"int": [0, 30]}}}
    space = SearchSpace.model_validate(content)
    found = fit(space, {"augment": {"rotation": 15.0}})
    assert not found.misfits
    assert found.params == {"augment.rotation": 15}
    assert isinstance(found.params["augment.rotation"], int)
    assert fit(space, {"augment": {"rotation": 15.5}}).misfits


def test_what_is_not_given_stays_open() -> None:
    found = fit(SPACE, {"optimizer": "sgd", "batch_size": 16})
    assert found.params == {"optimizer": "sgd", "batch_size": 16}
    assert found.misfits == []
    assert fit(SPACE, {"optimizer": {}}).params == {}
    assert fit(SPACE, {"optimizer": {"lr": 0.2}}).params == {"optimizer": "sgd", "optimizer.sgd.lr": 0.2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_size": 12}, r"batch_size: 12 is between two values of the search space, \[8, 64\] in steps of 8"),
        ({"weight_decay": 1.0}, r"weight_decay: 1 is outside the search space, \[1e-05, 0.01\]"),
        ({"weight_decay": "much"}, "weight_decay: 'much' is not a number"),
        ({"backbone": "c"}, "backbone: 'c' is not among the options a, b"),
        ({"optimizer": {"name": "sgd", "lr": 9}}, r"optimizer.lr: 9 is outside the search space, \[0.01, 0.3\]"),
        ({"optimizer": {"name": "adam"}}, "optimizer: 'adam' is not among the options"),
        ({"optimizer": {"name": "sgd", "rate": 9}}, "optimizer.rate: unknown key; there are name, lr"),
        ({"scheduler": "constant"}, "scheduler.name: 'constant' is not 'cosine', which the search space has fixed"),
        ({"optimizer": {"lr": 0.01}}, "optimizer: lr fits adamw and sgd; say which one, by optimizer.name"),
        ({"head": 3}, "head: 3 is not among the options"),
        ({"bogus": 3}, "bogus: unknown key"),
    ],
)
def test_what_does_not_fit_is_reported_with_its_place_and_the_rest_still_fits(given: dict[str, Any], said: str) -> None:
    found = fit(SPACE, {**given, "image_size": 16})
    with pytest.raises(AssertionError, match=said):
        raise AssertionError("; ".join(map(str, found.misfits)))
    assert found.params["image_size"] == 16


def test_a_part_of_a_head_that_fits_several_does_not_say_which() -> None:
    heads = [{"hidden": [8], "dropout": {"float": [0, 0.5]}}, {"hidden": [], "dropout": {"float": [0, 0.5]}}]
    space = SearchSpace.model_validate({"backbone": "x", "head": {"choice": heads}})
    (misfit,) = fit(space, {"head": {"dropout": 0.2}}).misfits
    assert "dropout fits hidden=[8] and " in str(misfit)
    assert "say which one, by a key in which they differ" in str(misfit)
    assert fit(space, {"head": {"hidden": [], "dropout": 0.2}}).misfits == []
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(1)).ask()
    assert fit(space, suggest(space, trial).model_dump(mode="json")).params == trial.params

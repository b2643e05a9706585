"""A search space and an Optuna trial give a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.flatten import flatten
from sweeper.config.optimizer import AdamConfig, SgdConfig
from sweeper.config.option_labels import option_labels
from sweeper.config.space import SearchSpace
from sweeper.config.space_membership import fit
from sweeper.search.study_store import StudyStore
from sweeper.search.suggest import keys_of, suggest
from tests.search.test_study_store import run_to_end, sweep_of

CONDITIONAL: dict[str, Any] = {
    "backbone": {"choice": ["resnet18", "resnet34"]},
    "batch_size": {"int": [16, 64], "step": 16},
    "head": {"choice": [{"hidden": []}, {"hidden": [{"int": [8, 32]}], "dropout": {"float": [0, 0.5]}}]},
    "optimizer": {
        "choice": [
            {"name": "adam", "lr": {"float": [1e-4, 1e-2], "log": True}},
            {"name": "sgd", "lr": {"float": [1e-2, 1e-1]}, "momentum": {"float": [0.5, 0.9]}},
        ]
    },
}


def test_conditional_parameters_are_those_of_the_chosen_option() -> None:
    space = SearchSpace.model_validate(CONDITIONAL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        config = suggest(space, trial)
        seen.add(config.optimizer.name)
        other = "sgd" if isinstance(config.optimizer, AdamConfig) else "adam"
        assert not [name for name in trial.params if name.startswith(f"optimizer.{other}.")]
        assert config.optimizer.lr == trial.params[f"optimizer.{config.optimizer.name}.lr"]
        if isinstance(config.optimizer, SgdConfig):
            assert config.optimizer.momentum == trial.params["optimizer.sgd.momentum"]
    assert seen == {"adam", "sgd"}


def test_the_same_parameters_give_the_same_configuration() -> None:
    space = SearchSpace.model_validate(CONDITIONAL)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(3)).ask()
    config = suggest(space, trial)
    assert suggest(space, optuna.trial.FixedTrial(trial.params)) == config


def test_the_key_of_each_parameter_has_its_value_in_the_configuration() -> None:
    space = SearchSpace.model_validate(CONDITIONAL | {"pretrained": {"choice": [True, False]}})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    seen = dict[str, str]()
    for _ in range(20):
        trial = study.ask()
        settings = flatten(suggest(space, trial).model_dump(mode="json"))
        keys = keys_of(space, trial.params)
        assert {key: settings[key] for key in keys.values()} == {keys[name]: trial.params[name] for name in keys}
        assert set(trial.params) - set(keys) <= {"head", "optimizer", "head.1.hidden[0]"}
        seen |= keys
    alike = {name: name for name in ("backbone", "batch_size", "pretrained")}
    assert seen == alike | {
        "head.1.dropout": "head.dropout",
        "optimizer.adam.lr": "optimizer.lr",
        "optimizer.sgd.lr": "optimizer.lr",
        "optimizer.sgd.momentum": "optimizer.momentum",
    }


def test_a_choice_of_lists_and_what_is_inside_a_list_have_no_key_of_their_own() -> None:
    hidden = {"choice": [[64], [{"int": [32, 128]}]]}
    heads = {"choice": [{"hidden": hidden}, {"hidden": hidden, "norm": "batch"}]}
    space = SearchSpace.model_validate({"backbone": "r", "head": heads})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(10):
        trial = study.ask()
        suggest(space, trial)
        assert keys_of(space, trial.params) == {}


def test_a_single_option_is_not_a_parameter() -> None:
    trial = optuna.create_study().ask()
    config = suggest(
        SearchSpace.model_validate({"backbone": {"choice": ["r"]}, "head": {"choice": [{"hidden": [4]}]}}), trial
    )
    assert config.head.hidden == (4,)
    assert trial.params == {}


def test_options_of_one_name_stay_apart() -> None:
    space = SearchSpace.model_validate(
        {"backbone": "r", "optimizer": {"choice": ["sgd", {"name": "sgd", "lr": 0.5}, "adam"]}}
    )
    assert option_labels(space.optimizer.choice) == ["sgd", "sgd#2", "adam"]  # type: ignore[attr-defined]


@given(st.lists(st.lists(st.integers(1, 9), max_size=3).map(tuple), min_size=1, max_size=6))
def test_labels_are_distinct_and_in_order(options: list[tuple[int, ...]]) -> None:
    labels = option_labels(options)
    assert len(labels) == len(options) == len(set(labels))


def test_unnamed_objects_are_labelled_by_what_is_fixed_in_them() -> None:
    space = SearchSpace.model_validate(CONDITIONAL)
    assert option_labels(space.head.choice)[0] == "default"  # type: ignore[attr-defined]


def test_an_option_whose_name_is_itself_a_choice_is_stored_and_fits_again(tmp_path: Path) -> None:
    options = [{"name": "adamw"}, {"name": {"choice": ["lamb", "lion"]}, "lr": {"float": [1e-3, 1e-2]}}]
    space = {"backbone": "r", "optimizer": {"choice": options}}
    sweep = sweep_of(search=space, sampler="random", budget={"trials": 8, "epochs": 1})
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    run_to_end(StudyStore.create_or_load(url, sweep))
    rows = StudyStore.load(url, "s").rows()
    names = {row.config.optimizer.name for row in rows if row.config}
    assert names == {"adamw", "lamb", "lion"}
    for row in rows:
        assert row.config is not None
        assert fit(sweep.search, row.config.model_dump(mode="json")).params == row.params
    searched = next(row.params for row in rows if row.params["optimizer"] != "adamw")
    assert sorted(searched) == ["optimizer", "optimizer.1.lr", "optimizer.1.name"]
    assert searched["optimizer"] == "lamb or lion"

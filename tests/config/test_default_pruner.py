"""Which pruner a search space has that names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config.loading import load_sweep
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError

LARGE = {"trials": 10, "epochs": 10}
CONTENT: dict[str, Any] = {
    "study": "s",
    "dataset": {"builtin": "digits"},
    "budget": LARGE,
    "search": {"backbone": "r", "drop_rate": {"float": [0, 0.5]}},
}


def pruner_of(**given: Any) -> str:
    return SweepConfig.model_validate({**CONTENT, **given}).pruner.name


def test_trials_pause_where_there_are_enough_of_them_and_of_their_epochs() -> None:
    assert pruner_of() == "promote"
    assert pruner_of(budget={"for": "1h", "epochs": 10}) == "promote"  # as many trials as fit
    assert pruner_of(budget={**LARGE, "trials": 9}) == "median"
    assert pruner_of(budget={**LARGE, "epochs": 9}) == "median"


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_trials_pause_under_samplers_that_learn_from_them_or_do_not_learn(sampler: str) -> None:
    assert pruner_of(sampler=sampler) == "promote"


@pytest.mark.parametrize(
    "other",
    [
        {"sampler": "gp"},
        {"sampler": "cmaes"},
        {"sampler": "grid", "search": {"backbone": "r", "batch_size": {"int": [1, 64]}}},
        {"budget": {**LARGE, "stop_when": {"gain": 0.01}}},
        {"features": {"fuse": 2}},
        {"dataset": {"builtin": "digits", "folds": 3}},
    ],
)
def test_trials_do_not_pause_where_that_does_not_go_with_the_rest(other: dict[str, Any]) -> None:
    assert pruner_of(**other) == "median"


@pytest.mark.parametrize(
    ("searched", "expected"),
    [
        ({}, "median"),  # the same configuration each time, to see its spread
        ({"backbone": {"choice": ["a", "b", "c"]}}, "median"),
        ({"backbone": {"choice": ["a", "b", "c"]}, "batch_size": {"choice": [8, 16, 32]}}, "median"),
        ({"backbone": {"choice": ["a", "b"]}, "batch_size": {"int": [8, 16], "step": 2}}, "promote"),
        ({"backbone": {"choice": ["a", "b"]}, "drop_rate": {"float": [0.1, 0.2], "step": 0.05}}, "median"),
        ({"weight_decay": {"float": [0.0, 0.1]}}, "promote"),
        ({"optimizer": {"choice": [{"name": name, "lr": {"choice": [1, 2, 3]}} for name in "abc"]}}, "median"),
        ({"optimizer": {"choice": [{"name": name, "lr": {"choice": [1, 2, 3, 4]}} for name in "abc"]}}, "promote"),
        ({"optimizer": {"choice": ["a", {"name": "b", "lr": {"float": [0.1, 1]}}]}}, "promote"),
    ],
)
def test_a_search_space_of_few_configurations_pauses_none(searched: dict[str, Any], expected: str) -> None:
    assert pruner_of(search={"backbone": "r", **searched}, budget={"trials": 50, "epochs": 20}) == expected


def test_what_is_named_is_taken() -> None:
    assert pruner_of(pruner="median") == "median"
    assert pruner_of(pruner={"name": "promote"}, budget={"trials": 2, "epochs": 2}) == "promote"
    assert pruner_of(objectives=["val/accuracy", "parameters"]) == "none"


SPACE = """\
study: s
budget: {trials: 50, epochs: 50}
search: {backbone: resnet10t, drop_rate: {float: [0, 0.5]}}
"""


@pytest.mark.parametrize(
    "more",
    [
        "dataset: {builtin: digits}",
        "dataset: {builtin: digits, folds: 5}",
        "dataset: {builtin: digits}\nfeatures: {fuse: 8}",
        "dataset: {builtin: digits}\nsampler: cmaes",
        "dataset: {builtin: digits}\nobjectives: [val/accuracy, parameters]",
    ],
)
def test_every_default_goes_with_the_rest_of_its_file(tmp_path: Path, more: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"{SPACE}{more}\n")
    assert load_sweep(file).study == "s"


@pytest.mark.parametrize("trials", [9, 10])
def test_what_is_written_down_of_a_search_space_names_the_pruner(trials: int) -> None:
    sweep = SweepConfig.model_validate({**CONTENT, "budget": {"trials": trials, "epochs": 10}})
    written = sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert written["pruner"]["name"] == ("median" if trials == 9 else "promote")
    assert SweepConfig.model_validate({**written, "budget": {"trials": 99, "epochs": 99}}).pruner == sweep.pruner


def test_a_mistake_in_another_key_is_told_and_not_that_the_pruner_has_no_default(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE.replace("trials: 50", "trials: -1") + "dataset: {builtin: digits}\n")
    with pytest.raises(ConfigError) as raised:
        load_sweep(file)
    assert [problem.key for problem in raised.value.problems] == ["budget.trials"]

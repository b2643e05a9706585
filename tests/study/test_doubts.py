from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from sweeper.config.document import Document
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.nested_models import models_in
from sweeper.config.pruner import HyperbandConfig, SuccessiveHalvingConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.folds import Folds
from sweeper.data.splitting import Rows, Splits
from sweeper.study.doubts import doubts, trials_needed


@dataclass
class Some:
    """Images of two classes; the second has `few` in training."""

    few: int = 10

    @property
    def labels(self) -> Rows:
        return np.array([0] * 20 + [1] * self.few, dtype=np.int64)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("cat", "dog")

    @property
    def folds(self) -> Folds:
        return ()

    @property
    def splits(self) -> Splits:
        return {"train": np.arange(len(self.labels))}


def told(few: int = 10, **changed: Any) -> str:
    content = {"study": "s", "dataset": {"path": "d"}, "search": {"backbone": "b"}, **changed}
    return "\n".join(doubts(SweepConfig.model_validate(content), Some(few)))


def test_a_usual_search_space_raises_no_doubt() -> None:
    assert told(search={"backbone": "b", "weight_decay": {"float": [1e-6, 1e-2], "log": True}}) == ""


def test_a_linear_range_over_four_decades_is_to_be_logarithmic() -> None:
    optimizer = {"choice": [{"name": "sgd", "lr": {"float": [1e-5, 0.1]}}, {"name": "adamw", "lr": 1e-3}]}
    assert "search.optimizer.sgd.lr is drawn evenly from 1e-05 to 0.1" in told(
        search={"backbone": "b", "optimizer": optimizer}
    )


def test_configurations_beyond_the_trials_are_named() -> None:
    first: dict[str, Any] = {"usual": {}, "bold": {}, "shy": {}}
    assert "bold, shy will not be tried, as there is room for 1 trial" in told(enqueue=first, budget={"trials": 1})
    assert told(enqueue=first, budget={"trials": 3}) == ""


@pytest.mark.parametrize("pruner", ["hyperband", "successive_halving"])
def test_a_pruner_with_more_rungs_than_trials_decides_by_chance(pruner: str) -> None:
    assert f"the pruner {pruner} compares" in told(pruner=pruner, budget={"trials": 5, "epochs": 81})
    assert told(pruner=pruner, budget={"trials": 500, "epochs": 81}) == ""
    within = {"name": "patient", "pruner": pruner}
    assert f"the pruner {pruner} compares" in told(pruner=within, budget={"trials": 5, "epochs": 81})
    few = {"name": "plateau", "pruner": pruner}  # phases, not epochs
    assert told(pruner=few, budget={"trials": 5, "epochs": 81}) == ""
    assert "compares" not in told(pruner=pruner, budget={"trials": 30, "epochs": 81}, dataset={"path": "d", "folds": 5})


def test_the_trials_that_a_pruner_needs_are_those_of_its_brackets() -> None:
    assert trials_needed(HyperbandConfig(name="hyperband"), 9) == 9 + 5 + 3
    assert trials_needed(SuccessiveHalvingConfig(name="successive_halving"), 16) == 16
    assert trials_needed(SuccessiveHalvingConfig(name="successive_halving"), 3) == 1


def test_a_part_of_a_grid_is_told() -> None:
    search = {"backbone": "b", "batch_size": {"choice": [8, 16, 32]}, "label_smoothing": {"choice": [0.0, 0.1]}}
    assert "the grid has 6 combinations and budget.trials is 5" in told(
        sampler="grid", budget={"trials": 5}, search=search
    )
    assert told(sampler="grid", budget={"trials": 6}, search=search) == ""


def test_a_class_of_two_images_is_told_by_name() -> None:
    assert "2 training images or fewer in 1 of 2 classes" in told(few=2)
    assert "dog (2)" in told(few=2)
    assert told(few=3) == ""


@pytest.mark.parametrize(
    ("unfreezing", "stages"),
    [
        ({"stage_epochs": 10}, "the last stage of"),
        ({"head_epochs": 5, "stage_epochs": 5}, "the last stage of"),
        ({"head_epochs": 1, "stage_epochs": 4}, "the last 3 stages of"),
        ({"choice": [{"head_epochs": 1}, {"stage_epochs": {"int": [6, 8]}}]}, "the last 2 stages of"),
    ],
)
def test_stages_that_would_begin_after_the_last_epoch_are_told(unfreezing: dict[str, Any], stages: str) -> None:
    budget = {"epochs": 10}
    assert f"lets only {stages} the backbone begin" in told(
        search={"backbone": "b", "unfreezing": unfreezing}, budget=budget
    )
    frozen = {"backbone": "b", "unfreezing": unfreezing, "trainable": "last_stage"}
    assert "lets only" not in told(search=frozen, budget=budget)


@pytest.mark.parametrize(
    ("settings", "told_of"),
    [
        ({"trainable": "head", "pretrained": True}, True),
        ({"trainable": "last_stage"}, True),
        ({"trainable": {"choice": ["head", "last_stage"]}, "pretrained": {"choice": [False, "w.safetensors"]}}, False),
    ],
)
def test_features_of_first_stages_that_no_trial_uses_are_told(settings: dict[str, Any], *, told_of: bool) -> None:
    said = told(search={"backbone": "b", **settings}, features={"last_stage": True})
    assert ("features.last_stage has no effect" in said) is told_of
    assert "features.last_stage" not in told(search={"backbone": "b", **settings})


STORED = {"backbone": "b", "trainable": "last_stage", "pretrained": True}


@pytest.mark.parametrize(
    ("name", "each_epoch", "some_do"),
    [
        ("progressive_resizing", 0.5, {"choice": [0.5, 1.0]}),
        ("augment", {"cutmix": 1.0}, {"cutmix": {"float": [0.0, 1.0]}}),
        ("teacher", {"name": "study:t/best"}, {"choice": ["none", {"name": "study:t/best"}]}),
    ],
)
def test_settings_with_which_no_trial_learns_from_stored_stages_are_told(
    name: str, each_epoch: Any, some_do: Any
) -> None:
    rule = f"features.last_stage has no effect with search.{name}"
    assert rule in told(search={**STORED, name: each_epoch}, features={"last_stage": True})
    assert rule not in told(search={**STORED, name: some_do}, features={"last_stage": True})
    assert rule not in told(search={**STORED, name: each_epoch})


def test_changes_of_images_that_vary_are_told_where_each_has_stored_stages_of_its_own() -> None:
    augment = {"flip": {"choice": [True, False]}, "rotation": {"float": [0, 10]}, "mixup": {"float": [0, 0.4]}}
    said = told(search={**STORED, "augment": augment}, features={"last_stage": True})
    assert "stores the images again for each value of search.augment.flip and augment.rotation, which" in said
    alike = {"flip": True, "mixup": {"float": [0, 0.4]}}
    assert "stores the images again" not in told(search={**STORED, "augment": alike}, features={"last_stage": True})


@pytest.mark.parametrize(
    ("settings", "without_effect"),
    [
        ({"trainable": "head", "unfreezing": {"head_epochs": 1}}, "search.unfreezing has no effect"),
        ({"trainable": "head", "unfreezing": {"stage_epochs": {"int": [0, 2]}}}, "search.unfreezing has no effect"),
        ({"trainable": "head", "layer_decay": {"float": [0.6, 1.0]}}, "search.layer_decay has no effect"),
        ({"trainable": "head", "drop_rate": {"float": [0.0, 0.5]}}, "search.drop_rate has no effect"),
        ({"trainable": "head", "drop_path_rate": 0.1}, "search.drop_path_rate has no effect"),
        (
            {"trainable": "last_stage", "unfreezing": {"stage_epochs": 1}},
            "search.unfreezing.stage_epochs has no effect",
        ),
    ],
)
def test_a_setting_of_parts_that_do_not_learn_is_told(settings: dict[str, Any], without_effect: str) -> None:
    assert without_effect in told(search={"backbone": "b", **settings}, budget={"epochs": 10})
    some_learn = {**settings, "trainable": {"choice": [settings["trainable"], "all"]}}
    assert "has no effect" not in told(search={"backbone": "b", **some_learn}, budget={"epochs": 10})


@pytest.mark.parametrize(
    "settings",
    [
        {"trainable": "last_stage", "unfreezing": {"head_epochs": 1}},
        {"trainable": "last_stage", "layer_decay": 0.8},
        {"trainable": "head", "layer_decay": 1.0, "unfreezing": {"head_epochs": 0}},
    ],
)
def test_a_setting_of_parts_that_learn_raises_no_doubt(settings: dict[str, Any]) -> None:
    search = {"backbone": "b", "pretrained": True, **settings}
    assert told(search=search, budget={"epochs": 10}) == ""


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"scheduler": {"name": "cosine", "warmup_epochs": 3}}, "scheduler.warmup_epochs is up to 3"),
        ({"scheduler": {"name": "cosine", "warmup_epochs": {"float": [0, 3.5]}}}, "warmup_epochs is up to 3.5"),
        ({"unfreezing": {"head_epochs": {"int": [0, 4]}}}, "unfreezing.head_epochs is up to 4"),
    ],
)
def test_trials_that_are_chosen_from_before_they_learn_are_told(search: dict[str, Any], said: str) -> None:
    budget = {"trials": 20, "epochs": 30}
    told_of = told(search={"backbone": "b", "drop_rate": {"float": [0, 0.5]}, **search}, budget=budget)
    assert said in told_of
    assert "after epoch 3" in told_of
    later = {"name": "promote", "rungs": [8]}
    assert told(search={"backbone": "b", **search}, budget=budget, pruner=later) == ""
    assert told(search={"backbone": "b", **search}, budget=budget, pruner="median") == ""


@pytest.mark.parametrize(
    ("search", "budget", "said"),
    [
        ({"unfreezing": {"head_epochs": 5}}, {"epochs": 20, "patience": 5}, "budget.patience, the trial may end"),
        ({"unfreezing": {"head_epochs": {"int": [0, 6]}}}, {"epochs": 20}, "search.scheduler.patience, the learning"),
        ({"unfreezing": {"head_epochs": 5}, "scheduler": "cosine"}, {"epochs": 20, "patience": 6}, ""),
        ({"unfreezing": {"head_epochs": 5}}, {"epochs": 20, "patience": 6}, ""),
        ({}, {"epochs": 20, "patience": 1}, ""),
    ],
)
def test_patience_that_ends_before_the_backbone_learns_is_told(
    search: dict[str, Any], budget: dict[str, Any], said: str
) -> None:
    found = told(search={"backbone": "b", **search}, budget=budget)
    assert said in found
    assert bool(found) == bool(said)


def test_averages_that_are_the_same_in_a_short_training_are_told() -> None:
    search = {"backbone": "b", "batch_size": 10, "ema": {"choice": [0.0, 0.8, 0.95, 0.99]}}
    said = told(search=search, budget={"epochs": 10})
    assert "search.ema: 0.95 and 0.99 are the same in trials of 30 steps or fewer" in said
    assert "about 10 steps at most" in said
    assert told(search=search, budget={"epochs": 50}) == ""
    one = {**search, "ema": {"choice": [0.0, 0.99]}}
    assert told(search=one, budget={"epochs": 10}) == ""
    ranged = {**search, "ema": {"float": [0.5, 0.99]}}
    assert "all values above 0.899 are the same" in told(search=ranged, budget={"epochs": 10})


@pytest.mark.parametrize(
    ("pruner", "said"),
    [
        ({"name": "successive_halving", "min_epochs": 10}, "pruner.min_epochs is 10 of 10 epochs: nothing is pruned"),
        ({"name": "median", "warmup_epochs": 12}, "pruner.warmup_epochs is 12 of 10 epochs"),
        ({"name": "patient", "pruner": {"name": "median", "warmup_epochs": 10}}, "pruner.pruner.warmup_epochs is 10"),
        ({"name": "median", "warmup_epochs": 9}, "pruner.warmup_epochs is 9 of 10 epochs"),
        ({"name": "median", "warmup_epochs": 8}, ""),
    ],
)
def test_a_pruner_that_decides_after_the_last_epoch_is_told(pruner: dict[str, Any], said: str) -> None:
    found = told(pruner=pruner, budget={"epochs": 10, "trials": 500})
    assert said in found
    assert bool(found) == bool(said)
    assert "nothing is pruned" not in told(pruner={"name": "median", "warmup_epochs": 1}, budget={"epochs": 1})


def numbers(model: type[BaseModel], name: str = "search") -> Iterator[tuple[str, float]]:
    """Yield every number of a search space that stands in no choice of several objects, and its default."""
    for field, info in model.model_fields.items():
        if type(info.default) in (int, float):
            yield f"{name}.{field}", info.default
        for inner in models_in(info.annotation):
            if "name" not in inner.model_fields:
                yield from numbers(inner, f"{name}.{field}")


@pytest.mark.parametrize(("key", "default"), list(numbers(TrialConfig)))
def test_every_number_may_be_a_range(key: str, default: float) -> None:
    low = default or 0.25
    drawn = {"int": [int(low), int(low) + 1]} if isinstance(default, int) else {"float": [low / 2, low]}
    for pruner, trainable in itertools.product(("promote", "hyperband"), ("all", "head", "last_stage")):
        document = Document("test", {"study": "s", "dataset": {"path": "d"}, "search": dict(STORED)})
        given = {key: drawn, "pruner": pruner, "search.trainable": trainable, "features.last_stage": True}
        for name, value in {**given, "search.scheduler": "cosine"}.items():
            document.override(f"{name}={json.dumps(value)}")
        list(doubts(SweepConfig.model_validate(document.data), Some()))


def test_every_number_of_a_schedule_may_be_a_range() -> None:
    for name in ("cosine", "one_cycle", "reduce_on_plateau", "step", "exponential", "constant"):
        scheduler = {"name": name, "warmup_epochs": {"float": [0, 3]}}
        told(search={"backbone": "b", "drop_rate": {"float": [0, 0.5]}, "scheduler": scheduler})


def test_an_end_that_waits_for_more_complete_trials_than_there_will_be_is_told() -> None:
    stop = {"stop_when": {"gain": 0.01, "trials": 30}}
    search = {"backbone": "b", "drop_rate": {"float": [0, 0.5]}}
    said = told(search=search, budget={"trials": 50, "epochs": 30, **stop}, pruner="promote")
    assert "waits for 30 complete trials, and with `pruner: promote` about 15 of 50" in said
    assert told(search=search, budget={"trials": 100, "epochs": 30, **stop}, pruner="promote") == ""
    assert told(search=search, budget={"trials": 50, "epochs": 30, **stop}) == ""  # which takes the median then


def test_stages_that_all_begin_in_time_raise_no_doubt() -> None:
    unfreezing = {"head_epochs": 1, "stage_epochs": 2}
    assert told(search={"backbone": "b", "unfreezing": unfreezing}, budget={"epochs": 10}) == ""


HEAD = {"backbone": "b", "trainable": "head", "pretrained": True}


@pytest.mark.parametrize(
    ("search", "cache", "told_of"),
    [
        (HEAD, True, False),
        ({**HEAD, "ema": {"choice": [0.0, 0.9]}}, True, False),
        ({**HEAD, "ema": 0.9}, True, True),
        (HEAD, False, True),
        ({**HEAD, "trainable": "all"}, True, True),
        ({**HEAD, "pretrained": False}, True, True),
    ],
)
def test_trials_that_cannot_be_trained_together_are_told(search: dict[str, Any], *, cache: bool, told_of: bool) -> None:
    features = {"fuse": 4, "cache": cache}
    assert ("features.fuse: 4 trains heads" in told(search=search, pruner="median", features=features)) is told_of
    assert "features.fuse" not in told(search=search, pruner="median", features={"cache": cache})


def test_a_frozen_backbone_without_weights_is_told() -> None:
    rule = "leaves the rest of the backbone as it is, and with pretrained: false that is random"
    assert rule in told(search={"backbone": "b", "trainable": {"choice": ["all", "last_stage"]}})
    assert rule not in told(search=HEAD)
    assert rule not in told(search={**HEAD, "pretrained": {"choice": [False, True]}})
    assert rule not in told(search={"backbone": "b"})

"""The search space of a continuation: the source's settings, those set anew, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.study.continuation import continued_sweep, set_anew
from sweeper.study.source import SourceTrial

SEARCH = {
    "backbone": "test_resnet",
    "optimizer": {"name": "adam", "lr": 0.01},
    "head": {"hidden": [8], "dropout": 0.1},
    "augment": {"flip": True},
}


def source(epochs: int = 5) -> SourceTrial:
    space = {
        "study": "tiny",
        "dataset": {"builtin": "digits"},
        "objective": {"metric": "val/f1"},
        "budget": {"trials": 9, "epochs": 8, "patience": 4},
        "sampler": {"name": "grid"},
        "features": {"fuse": 3},
        "search": {**SEARCH, "weight_decay": {"choice": [0.1, 0.2]}},
    }
    row = TrialRow(
        number=3,
        state=TrialState.COMPLETE,
        value=0.9,
        best_epoch=2,
        epochs=epochs,
        seconds=1.0,
        ended_ms=1,
        params={},
        config_json=None,
        reason=None,
        outcome=TrialOutcome(state=TrialState.COMPLETE),
    )
    config = TrialConfig.model_validate({**SEARCH, "weight_decay": 0.2, "pretrained": True})
    return SourceTrial(SweepConfig.model_validate(space), row, config, 2, 0)


def continued(*overrides: str, **options: Any) -> SweepConfig:
    return continued_sweep(source(), overrides, **{"epochs": None, "with_optimizer": False, **options})


def told(*overrides: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        continued(*overrides, **options)
    return str(caught.value)


def test_it_has_the_trials_own_settings_and_one_trial_without_pruning() -> None:
    sweep = continued()
    assert sweep.search.weight_decay == 0.2
    assert (sweep.budget.trials, sweep.budget.epochs, sweep.budget.patience) == (1, 13, 4)
    assert (sweep.pruner.name, sweep.features.fuse, sweep.objective.metric) == ("none", 1, "val/f1")
    assert continued(epochs=2).budget.epochs == 7


def test_an_autoencoder_goes_on_as_one() -> None:
    classifier = source()
    content = classifier.sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content |= {"task": {"name": "reconstruction", "every": 4}, "objective": {"metric": "val/psnr"}}
    content["search"].pop("head", None)
    config = TrialConfig.model_validate({**content["search"], "weight_decay": 0.2})
    autoencoder = replace(classifier, sweep=SweepConfig.model_validate(content), config=config)
    found = continued_sweep(autoencoder, [], epochs=None, with_optimizer=False)
    assert (found.task, found.objective.metric) == (autoencoder.sweep.task, "val/psnr")


def test_overrides_are_those_of_run() -> None:
    sweep = continued(
        "search.class_balance={sampling: 1, loss: focal}", "search.augment={}", "search.scheduler=cosine", "study=more"
    )
    assert sweep.study == "more"
    assert sweep.search.class_balance.loss.name == "focal"
    assert not sweep.search.augment.flip
    assert "did you mean sampling" in told("search.class_balance.samplin=1")


def test_the_same_command_has_the_same_name_and_another_one_another() -> None:
    names = [continued().study, continued("search.weight_decay=0").study, continued(with_optimizer=True).study]
    assert len(set(names)) == 3
    assert all(name.startswith("tiny-0003-") for name in names)
    assert continued().study == names[0]


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("search.unfreezing={head_epochs: 2}", ("unfreezing",)),
        ("search.unfreezing.head_epochs=2", ("unfreezing",)),
        (" search.progressive_resizing =0.5", ("progressive_resizing",)),
        ("search={backbone: r}", ("unfreezing", "progressive_resizing")),
        ("search.unfreezing_like=2", ()),
        ("search.augment={}", ()),
    ],
)
def test_settings_that_follow_the_epochs_begin_again_where_they_are_named(
    override: str, names: tuple[str, ...]
) -> None:
    assert set_anew([override, "study=more"]) == names


def test_a_setting_that_begins_again_at_its_old_value_makes_another_study() -> None:
    assert continued("search.unfreezing.head_epochs=0").study != continued().study


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("search.backbone=resnet18", "fit the network that they were trained in"),
        ("search.head.hidden=[4]", "of the head only its dropout may change"),
        ("search.pretrained=true", "the weights are those of tiny/3"),
        ("budget.epochs=5", "which has 5; set a higher one, or say with --epochs"),
    ],
)
def test_what_the_weights_do_not_allow_is_refused(override: str, rule: str) -> None:
    assert rule in told(override)
    assert override.partition("=")[0] in told(override)


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("search.scheduler={name: cosine, warmup_epochs: 4}", "should be at most 3, the epochs to come, got 4"),
        ("search.unfreezing.head_epochs=3", "should be below 3, the epochs to come, got 3"),
        ("pruner={name: hyperband, min_epochs: 4}", "should be at most 3, the epochs to come, got 4"),
        ("pruner={name: promote, rungs: [3]}", "should be below 3, the epochs to come, got 3"),
    ],
)
def test_more_epochs_than_are_to_come_are_refused(override: str, rule: str) -> None:
    assert rule in told(override, epochs=3)
    continued(override, epochs=5)


def test_an_inherited_unfreezing_counts_the_epochs_of_its_source_too() -> None:
    unfreezing = source().config.unfreezing.model_copy(update={"head_epochs": 3})
    inherited = replace(source(), config=source().config.model_copy(update={"unfreezing": unfreezing}))
    sweep = continued_sweep(inherited, (), epochs=1, with_optimizer=False)
    assert sweep.search.unfreezing.head_epochs == 3


def test_dropout_and_the_frozen_part_may_change() -> None:
    sweep = continued("search.head.dropout=0.5", "search.trainable=last_stage")
    assert sweep.search.head.dropout == 0.5


@pytest.mark.parametrize("override", ["search.optimizer=sgd", "search.trainable=head"])
def test_an_optimizers_state_goes_with_its_own_kind_and_parameters(override: str) -> None:
    continued(override)
    assert "the optimizer's state of tiny/3 goes with" in told(override, with_optimizer=True)

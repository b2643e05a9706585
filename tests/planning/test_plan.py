"""A plan finds what cannot work, and measures what can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sweeper.allowance import usable_cores
from sweeper.config.sweep import SweepConfig
from sweeper.display.plan import cost_lines, energy_line, networks_table
from sweeper.errors import ConfigError
from sweeper.paths import Workspace
from sweeper.planning.costs import EPOCH_S, TRIAL_S, Images, costs_of
from sweeper.planning.plan import Plan, make_plan
from sweeper.planning.power import Power
from sweeper.planning.step import Measured

SPACE: dict[str, Any] = {
    "study": "s",
    "dataset": {"builtin": "digits", "limit": {"train_images": 100, "val_images": 50}},
    "budget": {"trials": 4, "epochs": 2},
    "device": "cpu",
    "search": {
        "backbone": "test_resnet",
        "image_size": 16,
        "batch_size": {"choice": [8, 64, 256]},
        "optimizer": {"choice": ["adamw", {"name": "sgd", "lr": {"float": [0.01, 0.1]}}]},
    },
}


def sweep(**changed: Any) -> SweepConfig:
    search = {**SPACE["search"], **changed.pop("search", {})}
    return SweepConfig.model_validate({**SPACE, **changed, "search": search})


def planned(tmp_path: Path, **changed: Any) -> Plan:
    return make_plan(sweep(**changed), Workspace(tmp_path), None, lambda done, total: None)


def test_every_network_is_measured_at_the_bounds_of_its_batch_size_within_the_images(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.failures == ()
    assert plan.branches == 4
    assert [one.batch_size for one in plan.measured] == [8, 100]
    assert all(one.parameters > 1000 and one.images_per_s > 0 and one.peak_mb > 0 for one in plan.measured)
    assert plan.costs is not None
    assert plan.costs.whole_s == pytest.approx(4 * (TRIAL_S + 2 * plan.costs.epoch_s))
    assert "batch_size 256 is more than the 100 training images" in " ".join(plan.opening.warnings)
    assert not (tmp_path / "optuna.db").exists()


def test_what_cannot_work_is_named_with_its_options_and_the_rest_is_planned(tmp_path: Path) -> None:
    head = {"choice": [{"hidden": []}, {"hidden": [8], "norm": "batch"}]}
    backbone = {"choice": ["test_resnet", "test_vit"]}
    plan = planned(tmp_path, search={"backbone": backbone, "head": head, "image_size": 8, "batch_size": 8})
    assert {failure.where for failure in plan.failures} == {
        "backbone=test_vit, head=default, optimizer=adamw",
        "test_vit at 8 pixels, batch size 8",
    }
    assert [one.backbone for one in plan.measured] == ["test_resnet"]


def test_weights_that_cannot_be_had_are_told_before_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = planned(tmp_path, search={"pretrained": True, "batch_size": 8})
    assert "the pretrained weights of test_resnet are not on this machine" in plan.failures[0].why
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    plan = planned(tmp_path, search={"pretrained": str(tmp_path / "w.safetensors"), "batch_size": 8})
    assert "cannot be read as weights" in plan.failures[0].why


def test_a_plan_is_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a plan is made on this machine"):
        planned(tmp_path, engine="simulate")


def measured(**changed: Any) -> Measured:
    known = {"backbone": "b", "image_size": 64, "batch_size": 8, "trainable": "all", "parameters": 1000}
    known |= {"peak_mb": 1.0, "images_per_s": 100.0, "at_once": 8, "views": 0, "feature_bytes": 40, "power": Power()}
    return Measured(**{**known, **changed})


def test_time_and_disk_follow_from_what_was_measured() -> None:
    images = Images(all=1300, train=1000, val=300)
    costs = costs_of(sweep(pruner="none"), [measured()], images, workers=2, free_bytes=1)
    assert costs.epoch_s == pytest.approx((16 / 64) ** 2 * (1000 + 100) / 100)
    assert costs.whole_s == pytest.approx(4 * (TRIAL_S + 2 * costs.epoch_s) / 2)
    assert costs.pruned_s is None
    assert costs.images_bytes == 1300 * 16 * 16 * 3
    assert costs.weights_bytes == 4 * 1000 * 4


def test_the_epochs_that_are_averaged_take_disk_space_while_a_trial_runs() -> None:
    images = Images(all=1300, train=1000, val=300)
    plain, averaged = (
        costs_of(sweep(search={"epoch_soup": most}), [measured()], images, workers=2, free_bytes=1)
        for most in (1, {"int": [1, 3]})
    )
    assert averaged.checkpoint_bytes - plain.checkpoint_bytes == 2 * 4 * 1000 * 4
    assert averaged.weights_bytes == plain.weights_bytes


def test_paused_trials_take_disk_space_until_they_end() -> None:
    images = Images(all=1300, train=1000, val=300)
    budget = {"trials": 20, "epochs": 10}

    def checkpoints(one: Measured, pruner: Any) -> int:
        chosen = sweep(budget=budget, pruner=pruner)
        return costs_of(chosen, [one], images, workers=2, free_bytes=1).checkpoint_bytes

    assert checkpoints(measured(), "median") == 2 * 3 * 4 * 1000
    assert checkpoints(measured(), {"name": "promote", "keep": 0.3}) == (2 + 14) * 3 * 4 * 1000
    assert checkpoints(measured(trainable="head", views=1), "promote") == 0  # a head is next to nothing


def test_features_are_computed_once_whatever_the_number_of_trials() -> None:
    images = Images(all=1300, train=1000, val=300)
    frozen = measured(trainable="head", views=4)
    costs = costs_of(sweep(), [frozen], images, workers=1, free_bytes=1)
    assert costs.features_s == pytest.approx(43)
    assert costs.whole_s == pytest.approx(43 + 4 * (TRIAL_S + 2 * EPOCH_S))
    assert costs.features_bytes == 4300 * 40


def test_a_last_stage_on_features_takes_time_in_each_epoch_and_room_for_its_checkpoint() -> None:
    images = Images(all=1300, train=1000, val=300)
    stored = measured(trainable="last_stage", views=2, learned_per_s=500.0, learned=300)
    costs = costs_of(sweep(pruner="none"), [stored], images, workers=1, free_bytes=1)
    assert costs.features_s == pytest.approx(23)
    assert costs.epoch_s == pytest.approx(EPOCH_S + (1000 + 300 / 3) / 500)
    assert costs.whole_s == pytest.approx(23 + 4 * (TRIAL_S + 2 * costs.epoch_s))
    assert costs.features_bytes == 2300 * 40
    assert costs.checkpoint_bytes == 4 * 4 * 300  # weights, two averages of the optimizer, the best weights


def test_each_fold_has_features_of_its_own() -> None:
    images = Images(all=1000, train=800, val=200)
    frozen = measured(trainable="head", views=2)
    folds = sweep(dataset={"builtin": "digits", "folds": 5}, pruner="none")
    costs = costs_of(folds, [frozen], images, workers=1, free_bytes=1)
    assert costs.features_bytes == (5 * (800 * 2 + 200) + 1000 * 2) * 40


@pytest.mark.parametrize(("mirrored", "looks"), [("none", 1), ("flip", 2), ({"choice": ["none", "flip"]}, 1.5)])
def test_mirror_images_are_validated_and_stored_too(mirrored: Any, looks: float) -> None:
    images, chosen = (
        Images(all=1300, train=1000, val=300),
        sweep(search={"test_time_augmentation": mirrored}, pruner="none"),
    )
    stored = measured(trainable="last_stage", views=2, learned_per_s=500.0)
    costs = costs_of(chosen, [stored], images, workers=1, free_bytes=1)
    assert costs.features_bytes == (2000 + (1 if mirrored == "none" else 2) * 300) * 40
    assert costs.epoch_s == pytest.approx(EPOCH_S + (1000 + looks * 100) / 500)
    through = costs_of(chosen, [measured(image_size=16)], images, workers=1, free_bytes=1)
    assert through.epoch_s == pytest.approx((1000 + looks * 100) / 100)


def test_of_a_last_stage_on_features_both_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.planning.plan.weights_problem", lambda config: None)
    search = {"pretrained": "w.safetensors", "trainable": {"choice": ["head", "last_stage"]}, "batch_size": 8}
    plan = planned(tmp_path, search=search, features={"last_stage": True})
    head, last_stage = plan.measured
    assert plan.failures == ()
    assert head.views == 1
    assert head.learned_per_s is not None
    assert head.learned_per_s > 0
    assert last_stage.views == 1
    assert last_stage.learned_per_s is not None
    assert last_stage.learned_per_s > 0
    assert last_stage.feature_bytes > head.feature_bytes > 0
    assert 0 == head.learned < last_stage.learned < last_stage.parameters
    assert plan.costs is not None
    table = Console(width=120)
    with table.capture() as shown:
        table.print(networks_table(plan))
    assert f"{last_stage.learned_per_s:,.0f}" in shown.get()


def test_that_a_teacher_is_not_counted_is_told(tmp_path: Path) -> None:
    plain, taught = sweep(), sweep(search={"teacher": {"name": "study:big/best"}})
    made = planned(tmp_path)
    assert made.costs is not None
    assert not any("teacher" in line for line in cost_lines(made, made.costs, plain))
    assert any("without the teacher" in line for line in cost_lines(made, made.costs, taught))


def test_of_a_budget_of_time_it_is_told_how_many_trials_fit() -> None:
    images = Images(all=1300, train=1000, val=300)
    long = sweep(budget={"for": 100, "epochs": 10}, pruner="none")
    assert costs_of(long, [measured(image_size=16)], images, workers=1, free_bytes=1).trials == 1
    assert costs_of(long, [measured(image_size=16, images_per_s=1000.0)], images, workers=1, free_bytes=1).trials == 8


def test_heads_that_learn_in_no_time_are_not_as_many_as_there_are_numbers() -> None:
    images = Images(all=1300, train=1000, val=300)
    head = measured(trainable="head", views=1, learned_per_s=1e6)
    costs = costs_of(sweep(budget={"for": "1h", "epochs": 10}), [head], images, workers=1, free_bytes=1)
    assert 1000 < costs.trials < 8000


def test_a_timeout_leaves_the_trials_as_they_are_and_is_told(tmp_path: Path) -> None:
    images = Images(all=1300, train=1000, val=300)
    chosen = sweep(budget={"trials": 100, "epochs": 10, "timeout": 60}, pruner="none")
    costs = costs_of(chosen, [measured()], images, workers=1, free_bytes=1)
    assert costs.trials == 100
    assert costs.weights_bytes < 20 * 4 * 1000
    said = "\n".join(cost_lines(planned(tmp_path), costs, chosen))
    assert "for 100 trials of 10 epochs" in said
    assert "the budget ends the search after 1m00s" in said


def test_what_the_figures_leave_out_is_told(tmp_path: Path) -> None:
    plan = planned(tmp_path, devices_per_trial=4, device="cpu")
    assert any("those of a trial on one device, and each has 4" in warning for warning in plan.opening.warnings)
    backbones = {"choice": ["test_resnet", "test_vit", "test_efficientnet"]}
    ranked = planned(tmp_path, search={"backbone": backbones, "pretrained": True}, backbone_ranking={"keep": 2})
    assert any(
        "the mean over 3 backbones: backbone_ranking chooses 2" in warning for warning in ranked.opening.warnings
    )


def test_workers_that_share_the_cores_save_no_time_that_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images(all=1300, train=1000, val=300)
    one, many = (
        costs_of(sweep(), [measured()], images, workers, free_bytes=1, at_speed=at_speed)
        for workers, at_speed in ((2, 2), (16, 2))
    )
    assert one.whole_s == many.whole_s
    assert many.checkpoint_bytes == 8 * one.checkpoint_bytes
    threads: list[int] = []
    before = torch.get_num_threads()

    def measure(*_: object) -> Measured:
        threads.append(torch.get_num_threads())
        return measured()

    monkeypatch.setattr("sweeper.planning.plan.measure", measure)
    cores = usable_cores()
    plan = make_plan(sweep(), Workspace(tmp_path), str(8 * cores), lambda done, total: None)
    assert plan.costs is not None
    assert threads[-1] == 1
    assert torch.get_num_threads() == before
    alone = costs_of(sweep(), plan.measured, Images(1797, 100, 50), 1, free_bytes=1)
    assert plan.costs.whole_s == pytest.approx(alone.whole_s / cores)


def test_energy_is_the_power_of_all_gpus_and_the_processors_over_the_time() -> None:
    images = Images(all=1300, train=1000, val=300)
    drawing = [measured(power=Power(processors=50.0, gpu=200.0)), measured(power=Power(processors=70.0, gpu=300.0))]
    costs = costs_of(sweep(pruner="none"), drawing, images, workers=2, free_bytes=1, gpus=8)
    assert costs.watts == pytest.approx(60 + 2 * 250)
    whole_kwh = 560 * costs.whole_s / 3_600_000
    assert costs.whole_kwh == pytest.approx(whole_kwh)
    assert costs.pruned_kwh is None
    told = energy_line(costs, sweep(pruner="none"))
    assert told == f"energy: about {1000 * whole_kwh:.2g} Wh, at 560 W of GPUs and processors"
    shared = costs_of(sweep(pruner="none"), drawing, images, workers=4, free_bytes=1, gpus=1)
    assert shared.watts == pytest.approx(60 + 250)
    long = sweep(budget={"trials": 400, "epochs": 90})
    pruned = costs_of(long, drawing, images, workers=1, free_bytes=1, gpus=1)
    assert pruned.whole_kwh == pytest.approx(2 * (pruned.pruned_kwh or 0))
    assert " where half of the epochs are trained, at 310 W" in energy_line(pruned, long)
    for budget in ({"for": "1h", "epochs": 90}, {"for": "1h", "epochs": 2}):
        timed = costs_of(sweep(budget=budget), drawing, images, workers=1, free_bytes=1, gpus=1)
        assert energy_line(timed, sweep(budget=budget)).startswith("energy: about 0.31 kWh until the budget ends")


def test_energy_that_no_counter_tells_is_said_not_to_be_known() -> None:
    costs = costs_of(sweep(), [measured()], Images(all=1300, train=1000, val=300), workers=1, free_bytes=1)
    assert (costs.watts, costs.whole_kwh, costs.pruned_kwh, costs.limit_kwh) == (None,) * 4
    assert "not known" in energy_line(costs, sweep())

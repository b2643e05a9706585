"""Settings of one task are refused for the other, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.loading import load_sweep
from sweeper.config.names_to_check import NamesUsed
from sweeper.config.task import ReconstructionConfig
from sweeper.errors import ConfigError

SPACE = """study: s
task: reconstruction
dataset: {builtin: digits}
search:
  backbone: r
  image_size: 16
"""


def test_a_reconstruction_is_judged_by_its_psnr_unless_another_metric_is_named(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    sweep = load_sweep(file)
    assert (sweep.objective.metric, sweep.objective.direction) == ("val/psnr", "maximize")
    assert isinstance(sweep.task, ReconstructionConfig)
    assert (sweep.task.name, sweep.task.every) == ("reconstruction", 5)
    by_loss = load_sweep(file, ["objective.metric=val/loss"])
    assert (by_loss.objective.metric, by_loss.objective.direction) == ("val/loss", "minimize")
    assert by_loss.fingerprint()["task"] == "reconstruction"


@pytest.mark.parametrize(
    ("lines", "where", "rule"),
    [
        ("  head: {hidden: [8]}\n", "space.yaml:7: search.head", "no effect on the task reconstruction; remove it"),
        ("  label_smoothing: 0.1\n", "space.yaml:7: search.label_smoothing", "no effect"),
        ("  trainable: head\n", "space.yaml:7: search.trainable", "should be all"),
        (
            "  scheduler: {name: reduce_on_plateau, metric: {choice: [val/ssim, val/f1]}}\n",
            "space.yaml:7: search.scheduler",
            "val/f1 is not measured by the task reconstruction, only train/loss",
        ),
        ("objective: {metric: val/accuracy}\n", "space.yaml:7: objective.metric", "val/accuracy is not measured"),
        ("  class_balance: {weights: inverse}\n", "space.yaml:7: search.class_balance.weights", "no effect"),
        ("  class_balance: {loss: {choice: [cross_entropy, focal]}}\n", "search.class_balance.loss", "no effect"),
        ("  optimizer: {name: adam, head_lr_factor: 10}\n", "space.yaml:7: search.optimizer.head_lr_factor", "no eff"),
        ("  optimizer: {choice: [sgd, {name: adam, head_lr_factor: {float: [1, 9]}}]}\n", "head_lr_factor", "no eff"),
    ],
    ids=["head", "smoothing", "frozen", "schedule", "objective", "weights", "loss", "head rate", "a head rate"],
)
def test_what_a_reconstruction_has_no_use_for_is_refused(tmp_path: Path, lines: str, where: str, rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + lines)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file)
    assert where in str(caught.value)
    assert rule in str(caught.value)


def test_a_reconstruction_may_draw_rare_classes_more_often(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + "  class_balance: {sampling: {float: [0, 1]}}\n  optimizer: {name: sgd, lr: 0.1}\n")
    assert load_sweep(file).study == "s"


def test_images_smaller_than_the_window_of_ssim_and_metrics_of_the_other_task_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    with pytest.raises(ConfigError, match=r"search.image_size: SSIM .*window of 11 pixels.*got 8"):
        load_sweep(file, ["search.image_size={int: [8, 16]}"])
    with pytest.raises(ConfigError, match="val/psnr is not measured by the task classification"):
        load_sweep(file, ["task=classification", "objective.metric=val/psnr"])


CLASSIFIED = """study: s
dataset: {builtin: digits}
search: {backbone: r}
"""


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("objective.metric=train/accuracy", "train/accuracy is measured on the training images"),
        ("objectives=[val/accuracy, train/loss]", "train/loss is measured on the training images"),
        ("objectives=[val/accuracy, val/psnr]", "objectives[1].metric: val/psnr is not measured by the task"),
        ("pruner={name: hyperband, min_epochs: 11}", "should be at most budget.epochs, 10, got 11"),
        (
            "search.unfreezing={choice: [{head_epochs: 0}, {head_epochs: 50}]}",
            "should be below budget.epochs, 10, got 50: the backbone would never learn",
        ),
        ("pruner={name: patient, pruner: {name: successive_halving, min_epochs: 11}}", "nothing would be pruned"),
        ("search.scheduler={name: cosine, warmup_epochs: 10.5}", "got 10.5: the learning rate would never be reached"),
        ("search.scheduler={name: cosine, warmup_epochs: {float: [11, 12]}}", "got 11"),
        ("dataset.layout=csv", "layout: csv describes a path, and builtin: digits has none"),
        ("search.batch_size={choice: [8, 16, 8]}", "options 1 and 3 are equal"),
        ("search.optimizer={choice: [sgd, {name: sgd, lr: 0.05}]}", "options 1 and 2 are equal"),
        ("dataset={path: d, val_fraction: 0.2, test_fraction: 0.9}", "leave no images for training"),
        ("objective={metric: val/loss, direction: maximize}", "would rank the worst first"),
        (
            "search.optimizer={name: lion, options: {weight_decay: 0.05}}",
            "search.optimizer.options.weight_decay: has no effect here; use search.weight_decay",
        ),
        ("budget.trials=true", "should be a number, got true"),
        ("pruner={name: promote, rungs: [10]}", "should be below budget.epochs, 10, got 10: no trial would pause"),
        ("pruner={name: promote, rungs: [0]}", "should be at least 1, got 0"),
        ("pruner={name: promote, rungs: []}", "pruner.rungs"),
        ("pruner={name: promote, keep: 0}", "pruner.keep"),
        ("pruner={name: promote, keep: 1}", "pruner.keep"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_rule(
    tmp_path: Path, override: str, rule: str
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, [override])
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["search.pretrained=true"], "search.backbone has 1, and keep is 3: nothing would be left out"),
        (["search.backbone={choice: [resnet18, resnet34, resnet50, resnet10t]}"], "use search.pretrained: true, got F"),
    ],
)
def test_backbones_that_cannot_be_ranked_are_named(tmp_path: Path, overrides: list[str], rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, ["backbone_ranking={keep: 3}", "pruner=none", *overrides])
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("{keep: 0}", "backbone_ranking.keep: should be at least 1, got 0"),
        ("{keep: many}", "backbone_ranking.keep: should be a whole number, got 'many'"),
        ("{epochs: 0}", "backbone_ranking.epochs: should be at least 1, got 0"),
        ("{train_images: -5}", "backbone_ranking.train_images: should be at least 1, got -5"),
        ("{kept: 2}", "backbone_ranking.kept: unknown key; there are keep, epochs, train_images"),
    ],
)
def test_a_wrong_value_of_the_ranking_is_named_with_its_rule(tmp_path: Path, given: str, rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, [f"backbone_ranking={given}"])
    assert rule in str(caught.value)


def test_features_of_first_stages_that_are_not_kept_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    load_sweep(file, ["features.last_stage=true"])
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, ["features.last_stage=true", "features.cache=false"])
    assert "features.last_stage: should be false where features.cache is false" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["search.trainable=head", "features.fuse=8"], "use fuse: 1, or pruner: median; got 8"),
    ],
)
def test_what_does_not_go_with_trials_that_pause_is_refused(tmp_path: Path, overrides: list[str], rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, [*overrides, "pruner=promote"])
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("features.fuse=4", "use fuse: 1 with devices_per_trial: 2, got 4"),
        ("device=cuda:1", "names one device, and devices_per_trial: 2 needs more"),
        ("engine={name: ray, gpus_per_trial: 0.5}", "should be devices_per_trial, 2, or left out; got 0.5"),
        ("engine={name: ray, gpus_per_trial: 1.5}", "several GPUs are a whole number"),
    ],
)
def test_what_does_not_go_with_trials_on_several_devices_is_refused(tmp_path: Path, override: str, rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, ["devices_per_trial=2", "search.trainable=head", override])
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["search.trainable=head", "features.fuse=4"], "use fuse: 1 with dataset.folds: 5, got 4"),
        (["search.epoch_soup={int: [1, 3]}"], "should be 1 with dataset.folds: 5: the last training has all images"),
        (
            ["pruner=promote"],
            "promote looks at single epochs, and with dataset.folds: 5 trials are compared after each",
        ),
        (["pruner=plateau"], "use median, percentile, successive_halving or hyperband, got plateau"),
        (["budget.for=2h"], "which does not go with dataset.folds: 5; set it to null and use budget.timeout"),
        (["devices_per_trial=2"], "should be 1 with dataset.folds: 5"),
        (["engine=simulate"], "simulates epochs and no folds; remove dataset.folds: 5"),
        (
            ["search.teacher={choice: [none, 'study:big/best']}"],
            "a teacher may have learned from the images that judge a fold",
        ),
        (["pruner={name: hyperband, min_epochs: 6}"], "should be at most dataset.folds, 5, got 6"),
        (["dataset.limit.val_images=9"], "limit.train_images is the number of images in all folds"),
        (["task=reconstruction"], "is for the task classification; remove it"),
    ],
    ids=[
        "fuse",
        "soup",
        "promote",
        "plateau",
        "deadline",
        "devices",
        "simulated",
        "teacher",
        "min_epochs",
        "limit",
        "task",
    ],
)
def test_what_does_not_go_with_cross_validation_is_refused(tmp_path: Path, overrides: list[str], rule: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, [*overrides, "dataset.folds=5"])
    assert rule in str(caught.value)


def test_an_optimizer_is_not_kept_beside_an_average_of_epochs(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    rule = "keep_optimizer: keeps a state that belongs to the weights of one epoch, .* average of 3; use false, or"
    with pytest.raises(ConfigError, match=rule):
        load_sweep(file, ["search.epoch_soup={choice: [1, 3]}", "keep_optimizer=true"])
    assert load_sweep(file, ["search.epoch_soup=1", "keep_optimizer=true"]).keep_optimizer
    with pytest.raises(ConfigError, match=r"search\.epoch_soup: .*got 17"):
        load_sweep(file, ["search.epoch_soup=17"])


def test_a_cross_validated_trial_reports_as_often_as_it_has_folds(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    plain, folded = load_sweep(file), load_sweep(file, ["dataset.folds=3"])
    assert (plain.reported, plain.reports) == ("epoch", plain.budget.epochs)
    assert (folded.reported, folded.reports) == ("fold", 3)
    assert folded.fingerprint() != plain.fingerprint()


def test_a_warm_up_of_all_epochs_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    assert load_sweep(file, ["search.scheduler={name: cosine, warmup_epochs: 10}"])


def test_another_precision_is_another_study_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(CLASSIFIED)
    plain, changed = load_sweep(file), load_sweep(file, ["precision=bfloat16"])
    assert "precision" not in plain.fingerprint()  # of studies from before there was this key
    assert changed.fingerprint()["precision"] == "bfloat16"
    with pytest.raises(ConfigError, match="precision: should be one of auto, float32, bfloat16, got 'float16'"):
        load_sweep(file, ["precision=float16"])


def test_names_of_optimizers_with_settings_of_their_own_are_no_choice_of_names(tmp_path: Path) -> None:
    """What is drawn would not fit them: a trial could not be made of it."""
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + "  optimizer: {name: {choice: [adamw, lamb]}, lr: 0.01}\n")
    with pytest.raises(ConfigError, match="adamw cannot be in a choice of names, since each has settings of its own"):
        load_sweep(file)
    file.write_text(SPACE + "  optimizer: {name: {choice: [lamb, lion]}, lr: 0.01}\n")
    seen: list[tuple[str, str]] = []

    def note(used: NamesUsed) -> list[tuple[str, str]]:
        seen.extend(used.optimizers)
        return []

    load_sweep(file, [], note)
    assert [name for _, name in seen] == ["lamb", "lion"]

"""One trial: it learns, repeats itself exactly, resumes exactly and ends for stated reasons."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialState
from sweeper.scores.confusion import read_confusion
from sweeper.scores.predictions import image_ids, read_predictions
from sweeper.scores.right import read_right
from sweeper.training import trainer
from sweeper.training.conditions import Conditions
from sweeper.training.device import computing_in
from sweeper.training.evaluate import evaluate
from sweeper.training.inputs import TrialData
from sweeper.training.micro_batch import Limits, remember_limits
from sweeper.training.progress import Progress
from sweeper.training.ranks import Ranks
from sweeper.training.task import Validation
from tests.training.learnable import CPU, TIMED, colored, comparable, run, spec_of


class Killed(Exception):
    """Stands for a process that dies at this point."""


def test_a_trial_learns_and_logs_every_metric_each_epoch(tmp_path: Path) -> None:
    outcome, history = run(spec_of(epochs=8), tmp_path)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.best_value is not None
    assert outcome.best_value > 0.8
    assert [point.epoch for point in history] == list(range(1, 9))
    quality = {
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
        "val/top5_accuracy",
        "val/precision",
        "val/recall",
    }
    assert set(history[0].values) == quality | {"val/f1", "lr", "micro_batch_size"} | TIMED


def test_the_same_trial_twice_gives_the_same_numbers(tmp_path: Path) -> None:
    everything: dict[str, Any] = {
        "augment": {"crop_padding": 1, "flip": True, "mixup": 0.2},
        "head": {"hidden": [8], "dropout": 0.3},
    }
    _, first = run(spec_of(**everything), tmp_path / "a")
    _, second = run(spec_of(**everything), tmp_path / "b")
    _, other = run(spec_of(seed=8, **everything), tmp_path / "c")
    assert comparable(first) == comparable(second)
    assert comparable(first) != comparable(other)


def test_blocks_are_left_out_in_training_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.05}}
    _, whole = run(spec_of(**settings), tmp_path / "whole")
    outcome, thinned = run(spec_of(**settings, drop_path_rate=0.5), tmp_path / "thinned")
    assert [one.values["train/loss"] for one in whole] != [one.values["train/loss"] for one in thinned]
    spec, data = spec_of(**settings), colored()
    network = build_classifier(spec.config, 3)
    network.load_state_dict(load_file(TrialFolder(tmp_path / "thinned").weights_of(outcome.best_epoch or 0)))
    network.to(memory_format=torch.channels_last)
    batches = data.val.eval_batches(spec.config.batch_size, spec.config.image_size, network.mean, network.std)
    assert evaluate(network, batches, classes=3, device=CPU).values["accuracy"] == outcome.best_value


@pytest.mark.parametrize("micro_batches", [False, True])
def test_a_trial_in_bfloat16_learns_as_well_and_resumes_exactly(tmp_path: Path, micro_batches: bool) -> None:
    spec = spec_of(epochs=6)
    limits = tmp_path / "limits.json" if micro_batches else None
    if limits:
        remember_limits(limits, Limits(training=8))
    plain, _ = run(spec, tmp_path / "plain")

    def die(metrics: EpochMetrics) -> bool:
        if metrics.epoch == 3:
            raise Killed
        return False

    with computing_in("bfloat16"):
        outcome, history = run(spec, tmp_path / "whole", limits_file=limits)
        with pytest.raises(Killed):
            run(spec, tmp_path / "killed", on_epoch=die, limits_file=limits)
        resumed, again = run(spec, tmp_path / "killed", limits_file=limits)
    assert (plain.precision, outcome.precision, resumed.precision) == ("float32", "bfloat16", "bfloat16")
    assert comparable(history) == comparable(again)
    assert plain.best_value is not None
    assert outcome.best_value == pytest.approx(plain.best_value, abs=0.1)
    weights = load_file(TrialFolder(tmp_path / "whole").weights_of(outcome.best_epoch or 0))
    assert {one.dtype for one in weights.values() if one.is_floating_point()} == {torch.float32}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.sets(st.integers(1, 4), min_size=1, max_size=3),
    scheduler=st.sampled_from(["reduce_on_plateau", "one_cycle", {"name": "cosine", "warmup_epochs": 1.5}]),
    optimizer=st.sampled_from([{"name": "sgd", "lr": 0.05}, {"name": "adamw", "amsgrad": True}, {"name": "lion"}]),
    ema=st.sampled_from([0.0, 0.9]),
    drop_path_rate=st.sampled_from([0.0, 0.5]),
)
def test_a_trial_killed_after_any_epochs_continues_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory,
    kills: set[int],
    scheduler: Any,
    optimizer: Any,
    ema: float,
    drop_path_rate: float,
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    data = colored(train=34)
    spec = spec_of(
        epochs=4,
        scheduler=scheduler,
        optimizer=optimizer,
        head={"hidden": [4], "norm": "batch", "dropout": 0.2},
        drop_path_rate=drop_path_rate,
        ema=ema,
    )
    outcome, history = run(spec, folder / "whole", data)
    for epoch in sorted(kills):

        def die(metrics: EpochMetrics, last: int = epoch) -> bool:
            if metrics.epoch == last:
                raise Killed
            return False

        with pytest.raises(Killed):
            run(spec, folder / "broken", data, on_epoch=die)
    resumed, replayed = run(spec, folder / "broken", data)
    assert comparable(replayed) == comparable(history)
    assert resumed.model_dump(exclude={"seconds", "timestamp_ms"}) == outcome.model_dump(
        exclude={"seconds", "timestamp_ms"}
    )
    for kind in ("weights", "predictions"):
        (whole,), (broken,) = ((folder / name / "artifacts" / kind).iterdir() for name in ("whole", "broken"))
        assert whole.name == broken.name
        assert whole.read_bytes() == broken.read_bytes()
    assert len({(folder / name / "artifacts" / "right_by_epoch.npz").read_bytes() for name in ("whole", "broken")}) == 1


def test_the_predictions_kept_are_those_of_the_best_epoch_and_give_its_confusion_matrix(tmp_path: Path) -> None:
    data = colored(noise=150)
    outcome, history = run(spec_of(epochs=5, optimizer={"name": "sgd", "lr": 0.5}), tmp_path, data)
    folder = TrialFolder(tmp_path)
    assert outcome.best_epoch is not None
    assert list(folder.predictions.iterdir()) == [folder.predictions_of(outcome.best_epoch)]
    kept = read_predictions(folder.predictions_of(outcome.best_epoch))
    images, right = read_right(folder.right)
    assert np.array_equal(images, kept.images)
    assert len(right) == outcome.epochs
    assert np.array_equal(right[outcome.best_epoch - 1], kept.right)
    assert right.mean(axis=1).tolist() == pytest.approx([epoch.values["val/accuracy"] for epoch in history])
    confusion, classes = read_confusion(folder.confusion / "best.csv")
    assert np.array_equal(kept.confusion(len(classes)), confusion)
    assert np.array_equal(kept.images, image_ids(f"{row}.png" for row in range(60, 90)))
    assert kept.probabilities.sum(1) == pytest.approx(1, abs=2e-3)


def test_the_weights_kept_are_those_of_the_best_epoch_and_give_its_accuracy(tmp_path: Path) -> None:
    spec = spec_of(epochs=6, optimizer={"name": "sgd", "lr": 0.5})
    data = colored(noise=150)
    outcome, history = run(spec, tmp_path, data)
    values = [point.values["val/accuracy"] for point in history]
    assert outcome.best_value == max(values)
    assert outcome.best_epoch == values.index(max(values)) + 1
    (weights,) = (tmp_path / "artifacts" / "weights").iterdir()
    assert weights.name == f"epoch-{outcome.best_epoch:04d}.safetensors"
    model = build_classifier(spec.config, 3, load_weights=False)
    model.load_state_dict(load_file(weights))
    model.to(memory_format=torch.channels_last)
    again = evaluate(model, data.val.eval_batches(16, 8, model.mean, model.std), classes=3, device=CPU)
    assert again.values["accuracy"] == outcome.best_value
    confusion, classes = read_confusion(tmp_path / "artifacts" / "confusion" / "best.csv")
    assert (again.confusion == confusion).all()
    assert classes == list(data.classes)


def test_a_loss_that_explodes_fails_the_trial_with_its_reason_and_no_score(tmp_path: Path) -> None:
    outcome, _ = run(spec_of(optimizer={"name": "sgd", "lr": 1e3}), tmp_path)
    assert outcome.state is TrialState.FAILED
    assert outcome.best_value is None
    assert "learning rate" in (outcome.reason or "")


def test_a_backbone_that_cannot_be_built_fails_the_trial_with_its_reason(tmp_path: Path) -> None:
    outcome, _ = run(spec_of(pretrained=str(tmp_path / "none.safetensors")), tmp_path)
    assert outcome.state is TrialState.FAILED
    assert "none.safetensors" in (outcome.reason or "")


def test_a_pruned_trial_ends_at_once_and_keeps_its_best(tmp_path: Path) -> None:
    outcome, history = run(spec_of(epochs=5), tmp_path, on_epoch=lambda metrics: metrics.epoch == 2)
    assert (outcome.state, outcome.epochs, len(history)) == (TrialState.PRUNED, 2, 2)
    assert outcome.best_value == max(point.values["val/accuracy"] for point in history)


def test_the_latency_of_a_pruned_trial_is_measured_since_a_deadline_may_count_it_as_complete(tmp_path: Path) -> None:
    outcome, _ = run(spec_of(epochs=5), tmp_path, on_epoch=lambda metrics: metrics.epoch == 2, latency=True)
    assert outcome.costs["latency_ms"] > 0


def test_patience_ends_a_trial_that_no_longer_improves(tmp_path: Path) -> None:
    outcome, _ = run(spec_of(epochs=30, optimizer={"name": "sgd", "lr": 1e-12}), tmp_path, patience=2)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.epochs <= 5


def test_a_loss_as_objective_keeps_the_lowest(tmp_path: Path) -> None:
    objective = ObjectiveConfig.model_validate({"metric": "val/loss"})
    outcome, history = run(spec_of(epochs=4), tmp_path, objective=objective)
    assert outcome.best_value == min(point.values["val/loss"] for point in history)


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path) -> None:
    spec = spec_of(epochs=2, trainable="head")
    run(spec, tmp_path)
    torch.manual_seed(spec.seed)
    before = build_classifier(spec.config, 3).state_dict()
    after = load_file(next((tmp_path / "artifacts" / "weights").iterdir()))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)


def test_gradient_clipping_bounds_a_step(tmp_path: Path) -> None:
    clipped, _ = run(
        spec_of(epochs=1, optimizer={"name": "sgd", "lr": 50.0, "momentum": 0.0}, gradient_clip=1e-6), tmp_path
    )
    assert clipped.state is TrialState.COMPLETE


def test_a_truncated_checkpoint_is_never_seen_because_files_appear_whole(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.checkpoint.with_name("checkpoint.pt.part").write_bytes(b"half")
    outcome, _ = run(spec_of(epochs=1), tmp_path)
    assert outcome.state is TrialState.COMPLETE


def same_everywhere(labels: list[int], val_labels: list[int]) -> TrialData:
    """Return images that are all the same, so that one class is predicted for all."""
    images = ImageSet(
        images=np.full((len(labels) + len(val_labels), 8, 8, 3), 100, dtype=np.uint8),
        labels=np.array(labels + val_labels, dtype=np.int64),
        classes=("a", "b", "c"),
        splits={"train": np.arange(len(labels)), "val": np.arange(len(labels), len(labels) + len(val_labels))},
        digest="0" * 32,
    )
    return TrialData(DeviceImages(images, "train", CPU), DeviceImages(images, "val", CPU), images.classes)


def test_a_constant_prediction_is_a_score_like_any_other(tmp_path: Path) -> None:
    outcome, _ = run(spec_of(epochs=1), tmp_path, same_everywhere([0, 1, 2] * 8, [0, 1, 2] * 4))
    assert outcome.state is TrialState.COMPLETE
    assert outcome.best_value == pytest.approx(1 / 3)
    assert outcome.best_metrics["val/recall"] == pytest.approx(1 / 3)
    assert outcome.best_metrics["val/precision"] == pytest.approx(1 / 9)  # what is never predicted counts as 0


@pytest.mark.parametrize(
    ("train_labels", "val_labels"),
    [([0, 1, 2] * 8, [0, 1] * 4), ([0, 0, 0, 0, 1, 1, 1, 2], [0, 1, 2]), ([0, 1, 2], [0])],
    ids=["a class missing from validation", "one training image of a class", "one image of every class"],
)
def test_classes_with_few_or_no_images_give_finite_scores(
    tmp_path: Path, train_labels: list[int], val_labels: list[int]
) -> None:
    outcome, history = run(spec_of(epochs=2), tmp_path, same_everywhere(train_labels, val_labels))
    assert outcome.state is TrialState.COMPLETE
    assert np.isfinite([value for point in history for value in point.values.values()]).all()


def test_an_infinite_loss_in_validation_alone_fails_the_trial_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Classifier.forward

    def overflow(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        return forward(self, images) * (1 if self.training else float("inf"))

    monkeypatch.setattr(Classifier, "forward", overflow)
    outcome, history = run(spec_of(), tmp_path)
    assert (outcome.state, outcome.best_value, history) == (TrialState.FAILED, None, [])
    assert "val/loss became nan in epoch 1" in (outcome.reason or "")
    assert outcome.seconds > 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """A trial of four epochs, and what it reported."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _, history = run(spec_of(epochs=4, optimizer={"name": "sgd", "lr": 0.3}), folder, colored(noise=150))
    return folder, comparable(history)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, killed after its third epoch."""
    folder = tmp_path_factory.mktemp("killed")

    def die(metrics: EpochMetrics) -> bool:
        if metrics.epoch == 3:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(spec_of(epochs=4, optimizer={"name": "sgd", "lr": 0.3}), folder, colored(noise=150), on_epoch=die)
    return folder


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    last=st.sampled_from(["whole", "cut", "flipped", "empty", "gone"]),
    before=st.sampled_from(["whole", "cut", "flipped"]),
    place=st.floats(0, 0.999),
)
def test_a_damaged_checkpoint_costs_epochs_and_never_the_trial_or_a_digit(
    tmp_path_factory: pytest.TempPathFactory,
    killed: Path,
    undisturbed: tuple[Path, list[dict[str, float]]],
    last: str,
    before: str,
    place: float,
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "trial"
    shutil.copytree(killed, folder)
    for file, how in ((TrialFolder(folder).checkpoint, last), (TrialFolder(folder).checkpoint_before, before)):
        damage(file, how, place)
    spec = spec_of(epochs=4, optimizer={"name": "sgd", "lr": 0.3})
    outcome, history = run(spec, folder, colored(noise=150))
    assert outcome.state is TrialState.COMPLETE
    assert comparable(history) == undisturbed[1]
    (mine,), (expected,) = ((path / "artifacts" / "weights").iterdir() for path in (folder, undisturbed[0]))
    assert (mine.name, mine.read_bytes()) == (expected.name, expected.read_bytes())


def damage(file: Path, how: str, place: float) -> None:
    content = bytearray(file.read_bytes())
    at = int(place * len(content))
    match how:
        case "cut":
            file.write_bytes(content[:at])
        case "flipped":
            content[at] ^= 4
            file.write_bytes(content)
        case "empty":
            file.write_bytes(b"")
        case "gone":
            file.unlink()


def test_epochs_keep_their_order_in_time_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(history=[EpochMetrics(epoch=1, values={}, timestamp_ms=5_000)])
    monkeypatch.setattr("sweeper.training.progress.time.time", lambda: 1.4)
    assert progress.now_ms() == 5_001
    monkeypatch.setattr("sweeper.training.progress.time.time", lambda: 7.0)
    assert progress.now_ms() == 7_000


def test_every_device_of_a_trial_knows_that_it_was_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one asks the driver; the others hear of it, and are not to go on with what ends a complete trial."""
    told = iter([False, True])  # of the epochs of a checkpoint, and of this one
    monkeypatch.setattr(Ranks, "agree", lambda *_: next(told))
    epoch = EpochMetrics(epoch=1, values={"val/accuracy": 0.5}, timestamp_ms=1)
    found = Validation({"accuracy": 0.5}, np.zeros(()))
    monkeypatch.setattr(trainer, "_run_epoch", lambda *_: (epoch, found))
    conditions = Conditions(colored(), ObjectiveConfig(), None, CPU, ranks=Ranks(rank=1, count=2))
    learner: Any = None
    arguments = (learner, Progress(before=0), TrialFolder(tmp_path), conditions)
    assert trainer._train_epochs(spec_of(epochs=1), *arguments, lambda _: False)

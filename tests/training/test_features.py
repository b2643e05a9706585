"""Heads on stored features learn what they would behind the backbone, and the features are its output."""

from __future__ import annotations

import gc
import multiprocessing
import os
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sweeper.config.hyperparameters import AugmentConfig, TrialConfig
from sweeper.config.sweep import FeaturesConfig
from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.errors import DiskError
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.classifier import build_classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.training import features
from sweeper.training.evaluate import evaluate
from sweeper.training.features import CHUNK, FeatureMaker, FrozenFeatures, pixel_changes
from sweeper.training.inputs import TrialData
from sweeper.training.micro_batch import Limits
from tests.training.learnable import CPU, colored, comparable, spec_of
from tests.training.learnable import run as train_one


def head_trial(weights: str, **changes: Any) -> TrialSpec:
    return spec_of(**{"trainable": "head", "pretrained": weights, **changes})


def frozen_features(folder: Path, views: int = 3, *, last_stage: bool = False) -> FrozenFeatures:
    return FrozenFeatures(FeatureCache(folder / "features"), FeaturesConfig(views=views, last_stage=last_stage), CPU)


def run(
    spec: TrialSpec, folder: Path, features: FrozenFeatures | None, data: TrialData | None = None, **options: Any
) -> tuple[TrialOutcome, list[EpochMetrics]]:
    return train_one(spec, folder, data or colored(train=70), features=features, **options)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.fixed_dictionaries(
        {
            "hidden": st.sampled_from([[], [8], [8, 4]]),
            "norm": st.sampled_from(["none", "batch", "layer"]),
            "dropout": st.sampled_from([0.0, 0.3]),
        }
    ),
    batch_size=st.sampled_from([16, 23]),
    scheduler=st.sampled_from(["cosine", "reduce_on_plateau"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    mirror=st.sampled_from(["none", "flip"]),
)
def test_without_augmentation_a_head_on_features_learns_as_behind_the_backbone(
    tmp_path_factory: pytest.TempPathFactory,
    weights: str,
    head: Any,
    batch_size: int,
    scheduler: str,
    smoothing: float,
    mirror: str,
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    own: dict[str, Any] = {"head": head, "batch_size": batch_size, "scheduler": scheduler, "label_smoothing": smoothing}
    spec = head_trial(weights, **own, test_time_augmentation=mirror, drop_rate=0.2)
    through, expected = run(spec, folder / "images", None)
    on_features, found = run(spec, folder / "features", frozen_features(folder))
    assert on_features.on_features
    assert not through.on_features
    for left, right in zip(comparable(found), comparable(expected), strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
    whole = load_file(TrialFolder(folder / "images").weights_of(through.best_epoch or 0))
    written = load_file(TrialFolder(folder / "features").weights_of(on_features.best_epoch or 0))
    assert list(written) == list(whole)
    for name in whole:
        torch.testing.assert_close(written[name], whole[name], rtol=1e-4, atol=1e-5)


def test_a_head_that_answers_by_mirror_images_too_learns_the_same_and_answers_otherwise(
    tmp_path: Path, weights: str
) -> None:
    features = frozen_features(tmp_path)
    plain, mirrored = (
        run(head_trial(weights, test_time_augmentation=one, epochs=2), tmp_path / one, features)[1]
        for one in ("none", "flip")
    )
    for left, right in zip(plain, mirrored, strict=True):
        assert left.values["train/loss"] == right.values["train/loss"]
        assert left.values["val/loss"] != right.values["val/loss"]
    shapes = [np.load(path).shape[0] for path in (tmp_path / "features").glob("*.npy")]
    assert sorted(shapes) == [30, 30, 70]  # validation images, their mirror images, training images


@pytest.mark.parametrize("augment", [{}, {"flip": True, "crop_padding": 1, "color_jitter": 0.2}], ids=["plain", "all"])
def test_cached_features_are_exactly_what_the_backbone_gives(
    tmp_path: Path, weights: str, augment: dict[str, Any]
) -> None:
    data = colored(train=CHUNK + 37)
    config = AugmentConfig.model_validate(augment)
    features = frozen_features(tmp_path)
    frozen = features.backbone(head_trial(weights).config)
    maker = FeatureMaker(frozen, data.train, config, CPU, Limits(), None)
    stored = FeatureCache(tmp_path / "features").open(maker.key(1), maker.compute)
    backbone = build_backbone("test_resnet", weights, 8)
    module = backbone.module.eval().to(memory_format=torch.channels_last)
    chunks = data.train.view_batches(CHUNK, config, 8, backbone.mean, backbone.std, maker.key(1).seed)
    with torch.inference_mode():
        expected = torch.cat([module(chunk) for chunk in chunks])
    assert torch.equal(torch.from_numpy(stored), expected)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_dropout_in_a_frozen_backbone_has_no_effect(name: str) -> None:
    images = torch.randn(4, 3, 160, 160)
    outputs = []
    for rate in (0.0, 0.5):
        torch.manual_seed(0)
        config = TrialConfig(backbone=name, image_size=160, trainable="head", drop_rate=rate)
        classifier = build_classifier(config, 3).train()
        outputs.append(classifier.backbone(images))
    assert torch.equal(*outputs)


def test_epochs_go_through_the_views_in_turn_and_a_view_is_computed_when_it_is_needed(
    tmp_path: Path, weights: str
) -> None:
    spec = head_trial(weights, augment={"flip": True, "crop_padding": 2}, epochs=1)
    files = tmp_path / "features"
    run(spec, tmp_path / "one", frozen_features(tmp_path))
    assert len(list(files.glob("*.npy"))) == 2  # of the validation images, and the first view
    run(spec.model_copy(update={"epochs": 5}), tmp_path / "five", frozen_features(tmp_path))
    assert len(list(files.glob("*.npy"))) == 4
    data, features = colored(train=70), frozen_features(tmp_path)
    split = features.splits(features.backbone(spec.config), data, spec, None).train
    rows = [np.arange(70)]
    first, second = (next(split.view(number).take(rows)) for number in (0, 1))
    assert not torch.equal(first, second)
    order = {epoch: torch.cat([batch.inputs for batch in _batches(split, spec, epoch)]) for epoch in (1, 2, 4)}
    assert torch.equal(order[1].sort(0).values, order[4].sort(0).values)
    assert not torch.equal(order[1].sort(0).values, order[2].sort(0).values)


def test_the_time_of_features_is_told_apart_from_that_of_epochs(tmp_path: Path, weights: str) -> None:
    spec = head_trial(weights, epochs=4, augment={"flip": True})
    outcome, history = run(spec, tmp_path / "first", frozen_features(tmp_path, views=2))
    waited = [point.values["time/features_s"] for point in history]
    assert min(waited[:2]) > 0  # two views
    assert waited[2:] == [0.0, 0.0]
    assert outcome.seconds == pytest.approx(sum(waited) + sum(point.values["time/epoch_s"] for point in history))


def test_images_that_no_trial_needs_any_more_leave_the_memory_with_their_features(tmp_path: Path, weights: str) -> None:
    features, spec = frozen_features(tmp_path), head_trial(weights, epochs=1)
    earlier, later = colored(train=70), colored(train=60)
    for number, data in enumerate((earlier, later)):
        run(spec, tmp_path / str(number), features, data)
    alive = weakref.ref(earlier.train), weakref.ref(later.train)
    features.forget(earlier)
    del earlier, data
    gc.collect()
    assert alive[0]() is None
    assert alive[1]() is not None
    assert len(features._splits) == 2


def _batches(split: Any, spec: TrialSpec, epoch: int) -> Iterator[Any]:
    yield from split.train_batches(16, spec.config.augment, spec.seed, epoch)


def test_trials_with_other_hyperparameters_of_the_head_share_features(tmp_path: Path, weights: str) -> None:
    augment = {"flip": True, "crop_padding": 1}
    run(head_trial(weights, augment=augment, epochs=2), tmp_path / "a", frozen_features(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").glob("*.npy")}
    other = head_trial(
        weights,
        augment={**augment, "mixup": 0.4},
        epochs=2,
        seed=99,
        batch_size=10,
        drop_rate=0.3,
        head={"hidden": [4]},
        optimizer={"name": "sgd", "lr": 0.1},
    )
    outcome, _ = run(other, tmp_path / "b", frozen_features(tmp_path))
    assert outcome.state is TrialState.COMPLETE
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "features").glob("*.npy")} == before


@pytest.mark.parametrize(
    "changes",
    [{"trainable": "all"}, {"trainable": "last_stage"}, {"pretrained": False}, {"augment": {"cutmix": 1.0}}],
    ids=["all learns", "last stage learns", "random weights", "cutmix"],
)
def test_what_features_cannot_serve_goes_through_the_backbone(
    tmp_path: Path, weights: str, changes: dict[str, Any]
) -> None:
    outcome, _ = run(head_trial(weights, epochs=1, **changes), tmp_path / "trial", frozen_features(tmp_path))
    assert (outcome.state, outcome.on_features) == (TrialState.COMPLETE, False)
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("what", ["weights", "image_size", "augment", "pixels", "mean", "std"])
def test_a_key_changes_with_whatever_the_features_depend_on(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def key(path: str = weights, size: int = 8, noise: float = 60, augment: AugmentConfig | None = None) -> str:
        data = colored(noise=noise)
        frozen = frozen_features(tmp_path).backbone(head_trial(path, image_size=size).config)
        return FeatureMaker(frozen, data.train, augment or AugmentConfig(), CPU, Limits(), None).key(0).name

    if what in ("mean", "std"):
        given, built = iter([(0.4,) * 3, (0.5,) * 3]), cast("Any", build_backbone)
        monkeypatch.setattr(features, "build_backbone", lambda *of: built(*of)._replace(**{what: next(given)}))
    changed = load_file(weights)
    changed["layer4.0.conv1.weight"][0, 0, 0, 0] += 1e-6
    save_file(changed, tmp_path / "other.safetensors")
    others: dict[str, dict[str, Any]] = {
        "weights": {"path": str(tmp_path / "other.safetensors")},
        "image_size": {"size": 16},
        "augment": {"augment": AugmentConfig(flip=True)},
        "pixels": {"noise": 61},
    }
    assert key() != key(**others.get(what, {}))


def test_mixing_is_not_part_of_the_augmentation_that_features_depend_on() -> None:
    assert pixel_changes(AugmentConfig(flip=True, mixup=0.2)) == AugmentConfig(flip=True)


class Killed(Exception):
    """Stands for a process that dies at this point."""


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.sets(st.integers(1, 4), min_size=1, max_size=3), last_stage=st.booleans())
def test_a_trial_on_features_killed_after_any_epochs_continues_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory, weights: str, kills: set[int], *, last_stage: bool
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    spec = head_trial(
        weights, epochs=4, augment={"flip": True, "mixup": 0.3}, head={"hidden": [4], "norm": "batch", "dropout": 0.2}
    )
    if last_stage:
        spec = spec.model_copy(update={"config": spec.config.model_copy(update={"trainable": "last_stage"})})
    kept = partial(frozen_features, last_stage=last_stage)
    outcome, history = run(spec, folder / "whole", kept(folder))
    for epoch in sorted(kills):

        def die(metrics: EpochMetrics, last: int = epoch) -> bool:
            if metrics.epoch == last:
                raise Killed
            return False

        with pytest.raises(Killed):
            run(spec, folder / "broken", kept(folder), on_epoch=die)
        assert not TrialFolder(folder / "broken").weights.exists()
    resumed, replayed = run(spec, folder / "broken", kept(folder))
    assert comparable(replayed) == comparable(history)
    assert (resumed.best_epoch, resumed.best_value) == (outcome.best_epoch, outcome.best_value)
    whole, broken = (next((folder / name).glob("artifacts/weights/*")) for name in ("whole", "broken"))
    assert whole.name == broken.name
    assert whole.read_bytes() == broken.read_bytes()


@pytest.mark.parametrize("trainable", ["head", "last_stage"])
def test_a_trial_that_began_on_images_goes_on_on_images(tmp_path: Path, weights: str, trainable: str) -> None:
    def die(metrics: EpochMetrics) -> bool:
        if metrics.epoch == 2:
            raise Killed
        return False

    spec = head_trial(weights, trainable=trainable, epochs=4)
    _, history = run(spec, tmp_path / "whole", None)
    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", None, on_epoch=die)
    features = frozen_features(tmp_path, last_stage=True)
    resumed, replayed = run(spec, tmp_path / "broken", features)
    assert not resumed.on_features
    assert comparable(replayed) == comparable(history)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_weights_written_at_the_end_are_whole_and_give_the_logged_accuracy(
    tmp_path: Path, weights: str, ema: float
) -> None:
    data = colored(train=70, noise=150)
    head = {"hidden": [6], "norm": "batch"}
    spec = head_trial(weights, epochs=6, optimizer={"name": "sgd", "lr": 0.5}, head=head, ema=ema)
    outcome, history = run(spec, tmp_path / "trial", frozen_features(tmp_path), data)
    assert outcome.best_value == max(point.values["val/accuracy"] for point in history)
    (path,) = TrialFolder(tmp_path / "trial").weights.iterdir()
    assert path == TrialFolder(tmp_path / "trial").weights_of(outcome.best_epoch or 0)
    model = build_classifier(spec.config, 3, load_weights=False)
    model.load_state_dict(load_file(path))
    model.to(memory_format=torch.channels_last)
    again = evaluate(model, data.val.eval_batches(16, 8, model.mean, model.std), classes=3, device=CPU)
    assert again.values["accuracy"] == outcome.best_value


def test_a_pruned_head_trial_leaves_whole_weights_too(tmp_path: Path, weights: str) -> None:
    outcome, _ = run(head_trial(weights), tmp_path / "trial", frozen_features(tmp_path), on_epoch=lambda metrics: True)
    assert (outcome.state, outcome.epochs) == (TrialState.PRUNED, 1)
    assert any(name.startswith("backbone.") for name in load_file(TrialFolder(tmp_path / "trial").weights_of(1)))


KEY = FeatureKey.of({"backbone": "a"}, rows=5, width=2)


def ones(key: FeatureKey) -> Iterator[Features]:
    yield np.ones((3, key.width), dtype=np.float32)
    yield np.ones((key.rows - 3, key.width), dtype=np.float32)


def refuse(key: FeatureKey) -> Iterator[Features]:
    yield from ()
    raise AssertionError("computed again")


def test_features_for_which_the_disk_has_no_room_are_not_even_computed(tmp_path: Path) -> None:
    with pytest.raises(
        DiskError, match=r"rows of features take 4,000,000,000.0 MB, and .* MB are free\. Free some space"
    ):
        FeatureCache(tmp_path).open(FeatureKey.of({}, rows=10**9, width=10**6), refuse)
    assert not list(tmp_path.glob("*.npy*"))


@pytest.mark.parametrize("damage", ["cut short", "of another key", "of another shape", "no array", "empty"])
def test_a_damaged_or_foreign_file_is_computed_again(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path)
    cache.open(KEY, ones)
    file = tmp_path / f"{KEY.name}.npy"
    other = FeatureKey(KEY.name, 5, 3) if damage == "of another shape" else FeatureKey.of({"backbone": "b"}, 5, 2)
    content = {
        "cut short": lambda: file.read_bytes()[:-4],
        "of another key": lambda: _file_of(cache, other),
        "of another shape": lambda: _file_of(cache, other),
        "no array": lambda: b"x" * 500,
        "empty": lambda: b"",
    }[damage]()
    file.write_bytes(content)
    assert (cache.open(KEY, ones) == np.ones((5, 2))).all()
    assert (cache.open(KEY, refuse) == np.ones((5, 2))).all()


def _file_of(cache: FeatureCache, key: FeatureKey) -> bytes:
    (cache.folder / f"{key.name}.npy").unlink(missing_ok=True)
    cache.open(key, ones)
    return (cache.folder / f"{key.name}.npy").read_bytes()


def test_a_computation_that_fails_leaves_nothing_and_is_made_again(tmp_path: Path) -> None:
    def fail(key: FeatureKey) -> Iterator[Features]:
        yield np.ones((3, 2), dtype=np.float32)
        raise Killed

    cache = FeatureCache(tmp_path)
    with pytest.raises(Killed):
        cache.open(KEY, fail)
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY.name}.lock"]
    assert (cache.open(KEY, ones) == 1).all()


def _open_slowly(folder: Path, count: Any, started: Any) -> None:
    def compute(key: FeatureKey) -> Iterator[Features]:
        with count.get_lock():
            count.value += 1
        started.wait(60)
        yield from ones(key)

    FeatureCache(folder).open(KEY, compute)


def test_of_two_processes_that_want_the_same_features_one_computes_and_the_other_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    count, started = context.Value("i", 0), context.Event()
    processes = [
        context.Process(  # type: ignore[attr-defined]
            target=_open_slowly, args=(tmp_path, count, started)
        )
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    started.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert count.value == 1

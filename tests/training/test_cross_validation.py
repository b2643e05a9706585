"""A cross-validated trial: the mean of its folds, one prediction of each image, and the same after any crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.weights import read_weights
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from sweeper.scores.confusion import read_confusion
from sweeper.scores.predictions import image_ids, read_predictions
from sweeper.scores.right import read_right
from sweeper.training.conditions import Conditions
from sweeper.training.cross_validation import Folds, cross_validate, train_fold
from sweeper.training.evaluate import evaluate
from sweeper.training.inputs import TrialData
from tests.training.learnable import CPU, spec_of, square_images

FOLDS, IMAGES = 3, 60


class Killed(Exception):
    """Stands for a process that dies at this point."""


class Mortal(DeviceImages):
    """Images in whose training passes a process may die: the passes are counted over all trainings."""

    passes = 0
    dies_in = 0

    def train_batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        Mortal.passes += 1
        for batch in super().train_batches(*args, **options):
            if Mortal.passes == Mortal.dies_in:
                raise Killed
            yield batch


@pytest.fixture(autouse=True)
def immortal() -> Iterator[None]:
    Mortal.dies_in = 0
    yield
    Mortal.dies_in = 0


def images_in_folds(noise: float = 120) -> ImageSet:
    images = square_images(np.arange(IMAGES) % 3, IMAGES, 3, noise=noise)
    rows = np.random.default_rng(0).permutation(IMAGES)
    folds = tuple(np.sort(rows[place::FOLDS]) for place in range(FOLDS))
    return replace(images, folds=folds)


def folds_of(images: ImageSet, at_work: Callable[[], None] = lambda: None, **options: Any) -> Folds:
    def conditions(part: ImageSet) -> Conditions:
        data = TrialData(Mortal(part, "train", CPU), DeviceImages(part, "val", CPU), part.classes)
        return Conditions(**{"data": data, "objective": ObjectiveConfig(), "patience": None, "device": CPU, **options})

    return Folds(
        number=FOLDS,
        images=image_ids(images.paths),
        metric="val/accuracy",
        without=lambda fold: conditions(images.validating(fold)),
        whole=lambda: conditions(replace(images, splits=whole_splits(images))),
        at_work=at_work,
    )


def whole_splits(images: ImageSet) -> dict[Any, Any]:
    return {**images.without_validation().splits, "val": images.folds[0]}


def run(
    folder: Path, on_fold: Callable[[EpochMetrics], bool] = lambda _: False, epochs: int = 3, **options: Any
) -> tuple[TrialOutcome, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []

    def report(metrics: EpochMetrics) -> bool:
        seen.append(metrics)
        return on_fold(metrics)

    spec = spec_of(epochs=epochs, optimizer={"name": "sgd", "lr": 0.1}, scheduler={"name": "cosine"})
    folder.mkdir(exist_ok=True)
    return cross_validate(spec, TrialFolder(folder), folds_of(images_in_folds(), **options), report), seen


def test_a_trial_is_worth_the_mean_of_its_folds_and_says_how_far_they_are_apart(tmp_path: Path) -> None:
    outcome, seen = run(tmp_path)
    values = [fold.value for fold in outcome.folds]
    assert outcome.state is TrialState.COMPLETE
    assert (outcome.epochs, outcome.best_epoch) == (FOLDS, FOLDS)
    assert outcome.best_value == pytest.approx(fmean(values))
    assert outcome.best_metrics["val/accuracy"] == outcome.best_value
    assert outcome.spread == pytest.approx(stdev(values))
    assert len(set(values)) > 1
    means = [fmean(values[: number + 1]) for number in range(FOLDS)]
    assert [point.values["val/accuracy"] for point in seen] == pytest.approx(means)
    assert [point.values["fold/val/accuracy"] for point in seen] == values
    assert [point.epoch for point in seen] == [1, 2, 3]


def test_each_epoch_of_a_fold_and_of_the_last_training_is_a_sign_of_life(tmp_path: Path) -> None:
    signs: list[int] = []
    outcome, _ = run(tmp_path, at_work=lambda: signs.append(1))
    assert outcome.refit is not None
    assert len(signs) == FOLDS * 3 + outcome.refit.epochs


def test_every_image_is_predicted_once_by_a_network_that_has_not_seen_it(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path)
    folder, images = TrialFolder(tmp_path), images_in_folds()
    kept = read_predictions(folder.predictions_of(FOLDS))
    assert np.array_equal(kept.images, image_ids(images.paths))
    assert np.array_equal(kept.labels, images.labels)
    sizes = np.array([len(fold) for fold in images.folds])
    values = np.array([fold.value for fold in outcome.folds])
    assert kept.right.mean() == pytest.approx((sizes * values).sum() / IMAGES)
    for number, rows in enumerate(images.folds, 1):
        assert kept.right[rows].mean() == pytest.approx(outcome.folds[number - 1].value)
    matrix, names = read_confusion(folder.confusion / "best.csv")
    assert np.array_equal(matrix, kept.confusion(len(names)))
    assert matrix.sum() == IMAGES
    ids, right = read_right(folder.right)
    assert np.array_equal(ids, kept.images)
    assert np.array_equal(right, kept.right[None])


def test_the_weights_are_of_a_training_on_all_images_as_long_as_the_folds_took_to_their_best(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path)
    folder, images = TrialFolder(tmp_path), images_in_folds()
    assert outcome.refit is not None
    assert outcome.refit.epochs == round(fmean(fold.best_epoch for fold in outcome.folds))
    (weights,) = folder.weights.iterdir()
    assert weights == folder.weights_of(outcome.refit.epochs)
    spec = spec_of()
    model = build_classifier(spec.config, 3)
    model.load_state_dict(read_weights(weights))
    first = DeviceImages(images.validating(1), "val", CPU)
    batches = first.eval_batches(16, 8, model.mean, model.std)
    found = evaluate(model.eval(), batches, classes=3, device=CPU).values["accuracy"]
    assert found == pytest.approx(outcome.refit.metrics["val/accuracy"])


def test_a_pruned_trial_keeps_what_its_folds_say_and_has_no_weights(tmp_path: Path) -> None:
    outcome, seen = run(tmp_path, lambda metrics: metrics.epoch == 2)
    folder, images = TrialFolder(tmp_path), images_in_folds()
    assert outcome.state is TrialState.PRUNED
    assert len(seen) == len(outcome.folds) == 2
    assert outcome.refit is None
    assert not list(folder.path.rglob("*.safetensors"))
    kept = read_predictions(folder.predictions_of(2))
    assert len(kept) == len(images.folds[0]) + len(images.folds[1])
    assert not folder.right.exists()


def test_a_trial_that_is_skipped_in_its_last_fold_is_not_trained_on_all_images(tmp_path: Path) -> None:
    outcome, seen = run(tmp_path, lambda metrics: metrics.epoch == FOLDS)
    assert (outcome.state, len(seen), outcome.refit) == (TrialState.PRUNED, FOLDS, None)


def test_folds_trained_ahead_keep_the_points_of_a_trial_in_their_order_in_time(tmp_path: Path) -> None:
    spec = spec_of(epochs=3, optimizer={"name": "sgd", "lr": 0.1}, scheduler={"name": "cosine"})
    train_fold(spec, TrialFolder(tmp_path), folds_of(images_in_folds()), FOLDS)
    _, seen = run(tmp_path)
    times = [point.timestamp_ms for point in seen]
    assert times == sorted(set(times))


def test_a_fold_that_fails_ends_the_trial_without_a_score_and_names_itself(tmp_path: Path) -> None:
    spec = spec_of(epochs=3, optimizer={"name": "sgd", "lr": 1000})
    outcome = cross_validate(spec, TrialFolder(tmp_path), folds_of(images_in_folds()), lambda _: False)
    assert outcome.state is TrialState.FAILED
    assert outcome.best_value is None
    assert outcome.reason is not None
    assert outcome.reason.startswith("fold 1: ")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    passes=st.lists(st.integers(1, 11), min_size=1, max_size=3, unique=True),
    after_folds=st.sets(st.integers(1, FOLDS), max_size=2),
)
@pytest.mark.sweeps
def test_a_trial_killed_within_and_between_folds_ends_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory, passes: list[int], after_folds: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    Mortal.passes = Mortal.dies_in = 0
    outcome, history = run(folder / "whole")
    for moment in passes:
        Mortal.passes, Mortal.dies_in = 0, moment
        try:
            run(folder / "broken")
        except Killed:
            continue
    Mortal.dies_in = 0
    for fold in sorted(after_folds):

        def die(metrics: EpochMetrics, last: int = fold) -> bool:
            if metrics.epoch == last:
                raise Killed
            return False

        with pytest.raises(Killed):
            run(folder / "broken", die)
    resumed, replayed = run(folder / "broken")
    quality = [
        [{k: v for k, v in point.values.items() if k.startswith(("val/", "train/", "fold/"))} for point in points]
        for points in (history, replayed)
    ]
    assert quality[0] == quality[1]
    timed: Any = {"seconds": True, "timestamp_ms": True, "folds": {"__all__": {"seconds"}}}
    assert resumed.model_dump(exclude=timed) == outcome.model_dump(exclude=timed)
    for kind in ("weights", "predictions", "confusion"):
        (whole,), (broken,) = ((folder / name / "artifacts" / kind).iterdir() for name in ("whole", "broken"))
        assert whole.name == broken.name
        assert whole.read_bytes() == broken.read_bytes()


def test_folds_have_seeds_of_their_own_and_the_same_ones_again(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    seeds = [[fold.spec.read_text() for _, fold in TrialFolder(tmp_path / name).folds()] for name in ("a", "b")]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == FOLDS


def test_each_fold_stops_by_its_own_patience_and_the_last_training_by_theirs(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, epochs=8, patience=1)
    assert {fold.epochs - fold.best_epoch for fold in outcome.folds if fold.epochs < 8} == {1}
    assert outcome.refit is not None
    assert outcome.refit.epochs == round(fmean(fold.best_epoch for fold in outcome.folds))

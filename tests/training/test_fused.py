"""Trials that are trained together: each ends as if it had been alone, whatever becomes of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig, Precision
from sweeper.data.feature_cache import FeatureCache
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.training.conditions import Conditions
from sweeper.training.device import computing_in
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.stack.fused import Report, Together, stack_key, train_together
from sweeper.training.trainer import train
from tests.training.learnable import CPU, spec_of, squares

SHARED = {"time/epoch_s", "time/features_s", "images_per_s", "memory/peak_mb"}
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # a group takes a second; what fails is small already
Outcomes = dict[int, TrialOutcome]
Histories = dict[int, list[EpochMetrics]]


@pytest.fixture(scope="module")
def data() -> TrialData:
    labels = np.concatenate([np.repeat([0, 1, 2], [30, 15, 5]), np.arange(30) % 3])
    return squares(labels, train=50, classes=3, noise=120)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FrozenFeatures:
    return FrozenFeatures(FeatureCache(tmp_path_factory.mktemp("features")), FeaturesConfig(views=2), CPU)


def go_on(number: int, metrics: EpochMetrics) -> bool:
    return False


def members(weights: str, *changes: dict[str, Any], epochs: int = 3, **shared: Any) -> list[TrialSpec]:
    base = {"trainable": "head", "pretrained": weights, "epochs": epochs, **shared}
    return [spec_of(number=number, seed=number + 5, **{**base, **own}) for number, own in enumerate(changes)]


def fuse(
    specs: list[TrialSpec],
    folder: Path,
    data: TrialData,
    features: FrozenFeatures,
    report: Report = go_on,
    patience: int | None = None,
) -> tuple[Outcomes, Histories]:
    seen: Histories = {spec.number: [] for spec in specs}

    def note(number: int, metrics: EpochMetrics) -> bool:
        seen[number].append(metrics)
        return report(number, metrics)

    together = Together(
        data=data, objective=ObjectiveConfig(), patience=patience, device=CPU, features=features, report=note
    )
    trials = [(spec, TrialFolder(folder / str(spec.number))) for spec in specs]
    return {spec.number: outcome for spec, outcome in train_together(trials, together)}, seen


def alone(
    spec: TrialSpec, folder: Path, data: TrialData, features: FrozenFeatures | None, patience: int | None = None
) -> tuple[TrialOutcome, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []

    def note(metrics: EpochMetrics) -> bool:
        seen.append(metrics)
        return False

    outcome = train(
        spec,
        TrialFolder(folder),
        Conditions(data, ObjectiveConfig(), patience, CPU, features=features),
        note,
    )
    return outcome, seen


def values(history: list[EpochMetrics]) -> list[dict[str, float]]:
    return [{name: value for name, value in point.values.items() if name not in SHARED} for point in history]


def same(left: list[EpochMetrics], right: list[EpochMetrics]) -> bool:
    """Return whether two histories are equal to the last digit; pytest would take minutes to show how they differ."""
    return values(left) == values(right)


def close(left: list[EpochMetrics], right: list[EpochMetrics]) -> bool:
    """Return whether two histories are those of the same trial, within rounding."""
    assert len(left) == len(right)
    for own, other in zip(values(left), values(right), strict=True):
        assert own == pytest.approx(other, rel=2e-3, abs=2e-5)
    return True


SCHEDULERS = st.sampled_from(
    [
        {"name": "cosine", "warmup_epochs": 0.5},
        {"name": "one_cycle"},
        {"name": "reduce_on_plateau", "patience": 0, "factor": 0.5},
        {"name": "step", "every": 1, "factor": 0.5},
    ]
)
OWN = st.fixed_dictionaries(
    {
        "weight_decay": st.sampled_from([0.0, 0.01, 0.1]),
        "decay_norm_and_bias": st.booleans(),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "gradient_clip": st.sampled_from([None, 0.1]),
        "scheduler": SCHEDULERS,
        "lr": st.sampled_from([1e-3, 1e-2]),
        "decay": st.sampled_from([0.5, 0.9]),
        "dropout": st.sampled_from([0.0, 0.2, 0.5]),
        "gamma": st.sampled_from([0.0, 0.5, 2.0]),
        "sampling": st.sampled_from([0.0, 0.5, 1.0]),
        "weights": st.sampled_from(["none", "inverse", {"name": "effective_number", "beta": 0.9}]),
    }
)
KIND = st.one_of(
    st.fixed_dictionaries({"name": st.sampled_from(["adam", "adamw"]), "amsgrad": st.booleans()}),
    st.fixed_dictionaries({"name": st.just("sgd"), "nesterov": st.booleans()}),
)
SHAPE = st.fixed_dictionaries(
    {
        "hidden": st.sampled_from([[], [8], [8, 5]]),
        "norm": st.sampled_from(["none", "batch", "layer"]),
        "activation": st.sampled_from(["relu", "gelu", "tanh"]),
    }
)


def drawn(
    own: dict[str, Any], kind: dict[str, Any], shape: dict[str, Any], mixup: float, focal: bool
) -> dict[str, Any]:
    """Return the configuration of a member."""
    used = ("lr", "decay", "dropout", "gamma", "sampling", "weights")
    rest = {name: value for name, value in own.items() if name not in used}
    loss = {"name": "focal", "gamma": own["gamma"]} if focal else "cross_entropy"
    rest["class_balance"] = {"sampling": own["sampling"], "weights": own["weights"], "loss": loss}
    momenta = {"momentum": own["decay"]} if kind["name"] == "sgd" else {"betas": (own["decay"], 0.99)}
    head = {**shape, "dropout": own["dropout"]}
    return {**rest, "optimizer": {**kind, "lr": own["lr"], **momenta}, "head": head, "augment": {"mixup": mixup}}


@settings(max_examples=6, phases=QUICK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=st.lists(OWN, min_size=2, max_size=4),
    kind=KIND,
    shape=SHAPE,
    batch_size=st.sampled_from([16, 23]),
    mixup=st.sampled_from([0.0, 0.3]),
    focal=st.booleans(),
    mirror=st.sampled_from(["none", "flip"]),
)
def test_a_member_of_any_group_ends_as_if_it_had_been_trained_alone(
    tmp_path_factory: pytest.TempPathFactory,
    weights: str,
    data: TrialData,
    features: FrozenFeatures,
    own: list[dict[str, Any]],
    kind: dict[str, Any],
    shape: dict[str, Any],
    batch_size: int,
    mixup: float,
    focal: bool,
    mirror: str,
) -> None:
    folder = tmp_path_factory.mktemp("group")
    shared: dict[str, Any] = {"batch_size": batch_size, "test_time_augmentation": mirror}
    specs = members(weights, *(drawn(one, kind, shape, mixup, focal) for one in own), **shared)
    assert len({stack_key(spec.config) for spec in specs}) == 1
    outcomes, histories = fuse(specs, folder / "fused", data, features)
    # A bias before batch normalisation has no gradient but what rounding leaves, which Adam scales up to whole
    # steps of random sign: the bias, the running mean that follows it and validation then differ.
    drifts = shape["norm"] == "batch" and shape["hidden"] and kind["name"] != "sgd"
    for spec in specs:
        outcome, history = alone(spec, folder / f"alone-{spec.number}", data, features)
        assert outcomes[spec.number].state is outcome.state
        if drifts:
            losses = [[point.values["train/loss"] for point in seen] for seen in (histories[spec.number], history)]
            assert losses[0] == pytest.approx(losses[1], rel=2e-3)
            continue
        close(histories[spec.number], history)
        best = outcome.best_epoch or 0
        assert outcomes[spec.number].best_epoch == best
        mine = load_file(TrialFolder(folder / "fused" / str(spec.number)).weights_of(best))
        other = load_file(TrialFolder(folder / f"alone-{spec.number}").weights_of(best))
        for name in other:
            torch.testing.assert_close(mine[name], other[name], rtol=1e-3, atol=1e-4)


def various(weights: str, count: int, **shared: Any) -> list[TrialSpec]:
    head = {"hidden": [8], "norm": "batch", "dropout": 0.3}
    own = [
        {
            "optimizer": {"name": "adamw", "lr": 0.002 * (number + 1)},
            "class_balance": {
                "sampling": number / 4,
                "weights": ("none", "inverse")[number % 2],
                "loss": {"name": "focal", "gamma": number},
            },
        }
        for number in range(count)
    ]
    return members(weights, *own, head=head, augment={"flip": True, "crop_padding": 1}, **shared)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_members_numbers_do_not_depend_on_its_company(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures, precision: Precision
) -> None:
    specs = various(weights, 5)
    with computing_in(precision):
        _, all_five = fuse(specs, tmp_path / "five", data, features)
        for company in (specs[:1], specs[1:3], specs[2:]):
            _, fewer = fuse(company, tmp_path / f"of-{len(company)}", data, features)
            for spec in company:
                assert same(fewer[spec.number], all_five[spec.number])


def test_members_that_are_pruned_or_stop_early_leave_and_the_others_go_on_unchanged(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures
) -> None:
    specs = various(weights, 4, epochs=6)
    specs[3] = specs[3].model_copy(
        update={"config": specs[3].config.model_copy(update={"label_smoothing": 0.0, "weight_decay": 0.0})}
    )
    _, expected = fuse(specs, tmp_path / "all", data, features)
    ends = {0: 2, 2: 1}
    outcomes, found = fuse(
        specs, tmp_path / "some", data, features, report=lambda number, metrics: ends.get(number) == metrics.epoch
    )
    assert {number: outcome.state for number, outcome in outcomes.items()} == {
        0: TrialState.PRUNED,
        1: TrialState.COMPLETE,
        2: TrialState.PRUNED,
        3: TrialState.COMPLETE,
    }
    assert list(outcomes) == [2, 0, 1, 3]
    for spec in specs:
        length = ends.get(spec.number, 6)
        assert same(found[spec.number], expected[spec.number][:length])
        assert TrialFolder(tmp_path / "some" / str(spec.number)).weights.exists()


def test_patience_ends_each_member_where_it_would_alone(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures
) -> None:
    rates = ({"optimizer": {"name": "sgd", "lr": rate}} for rate in (1e-12, 0.05))
    specs = members(weights, *rates, epochs=8)
    outcomes, _ = fuse(specs, tmp_path / "fused", data, features, patience=2)
    for spec in specs:
        outcome, _ = alone(spec, tmp_path / f"alone-{spec.number}", data, features, patience=2)
        assert outcomes[spec.number].epochs == outcome.epochs
    assert outcomes[0].epochs == 3


def test_a_member_whose_loss_explodes_fails_alone(
    tmp_path: Path, weights: str, data: TrialData, features: FrozenFeatures
) -> None:
    rates = ((0.01, 0.0), (1e3, 1e3), (0.02, 0.0))  # the second multiplies its weights by a million in each step
    changes = ({"optimizer": {"name": "sgd", "lr": rate}, "weight_decay": decay} for rate, decay in rates)
    specs = members(weights, *changes, head={"hidden": [8]})
    outcomes, histories = fuse(specs, tmp_path / "with", data, features)
    assert outcomes[1].state is TrialState.FAILED
    assert "learning rate" in (outcomes[1].reason or "")
    _, without = fuse([specs[0], specs[2]], tmp_path / "without", data, features)
    for number in (0, 2):
        assert outcomes[number].state is TrialState.COMPLETE
        assert same(histories[number], without[number])


class Killed(Exception):
    """Stands for a process that dies at this point."""


@settings(max_examples=3, phases=QUICK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=3, unique=True))
def test_a_group_killed_between_any_two_reports_continues_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory,
    weights: str,
    data: TrialData,
    features: FrozenFeatures,
    deaths: list[tuple[int, int]],
) -> None:
    folder, specs = tmp_path_factory.mktemp("group"), various(weights, 3)
    order: list[tuple[int, int]] = []

    def note(number: int, metrics: EpochMetrics) -> bool:
        if (number, metrics.epoch) not in order:
            order.append((number, metrics.epoch))
        return False

    outcomes, histories = fuse(specs, folder / "whole", data, features, report=note)
    expected, order = list(order), []
    for death in deaths:

        def die(number: int, metrics: EpochMetrics, last: tuple[int, int] = death) -> bool:
            note(number, metrics)
            if (number, metrics.epoch) == last:
                raise Killed
            return False

        with pytest.raises(Killed):
            fuse(specs, folder / "broken", data, features, report=die)
    resumed, replayed = fuse(specs, folder / "broken", data, features, report=note)
    assert order == expected  # so that pruners see the same
    for number, outcome in outcomes.items():
        assert same(replayed[number], histories[number])
        assert resumed[number].best_value == outcome.best_value
        mine, whole = (next((folder / name / str(number)).glob("artifacts/weights/*")) for name in ("broken", "whole"))
        assert mine.read_bytes() == whole.read_bytes()


def test_trials_are_stacked_only_where_all_that_cannot_be_data_agrees(weights: str) -> None:
    base: dict[str, Any] = {"head": {"hidden": [8]}, "optimizer": {"name": "sgd", "momentum": 0.9}}
    others = (
        {"head": {"hidden": [9]}},
        {"head": {"hidden": [8], "norm": "layer"}},
        {"batch_size": 8},
        {"image_size": 16},
        {"optimizer": {"name": "sgd", "momentum": 0.0}},
        {"optimizer": {"name": "adam"}},
        {"augment": {"flip": True}},
        {"augment": {"mixup": 0.2}},
        {"test_time_augmentation": "flip"},
    )
    same = ({"label_smoothing": 0.1}, {"head": {"hidden": [8], "dropout": 0.4}}, {"drop_rate": 0.2})
    keys = [stack_key(spec.config) for spec in members(weights, base, *({**base, **other} for other in others))]
    assert len(set(keys)) == len(keys)
    assert {stack_key(spec.config) for spec in members(weights, *({**base, **other} for other in same))} == {keys[0]}
    (lion,) = members(weights, {"optimizer": {"name": "lion"}})
    assert stack_key(lion.config) is None

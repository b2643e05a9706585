"""The average of a trial's best epochs: chosen greedily, kept and recorded, and the same after any crash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.feature_cache import FeatureCache
from sweeper.errors import DoesNotFit, RankLost
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from sweeper.scores.confusion import read_confusion
from sweeper.scores.predictions import read_predictions
from sweeper.scores.right import read_right
from sweeper.training import epoch_soup
from sweeper.training.checkpoint import read_leading, remove_checkpoints
from sweeper.training.conditions import Conditions
from sweeper.training.evaluate import evaluate
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.progress import Progress
from sweeper.training.ranks import Ranks
from sweeper.training.soup import averaged
from sweeper.training.stack.fused import stack_key
from tests.training.learnable import CPU, colored, comparable, run, spec_of

NOISY: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.3}, "scheduler": "constant", "epoch_soup": 3}
"""At a high rate epochs differ, and averages of them are better."""

SCHEDULE_FREE: dict[str, Any] = {"optimizer": {"name": "schedule_free_adamw", "lr": 0.01}}
CLOCK = {"seconds", "timestamp_ms"}
MODELS = Path(__file__).parents[2] / "models"


class Killed(Exception):
    """Stands for a process that dies at this point."""


class Mortal(DeviceImages):
    """Images in the middle of whose passes, training and validation counted together, a process may die."""

    passes = 0
    dies_in = 0

    def train_batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        return self._counted(super().train_batches(*args, **options))

    def eval_batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        return self._counted(super().eval_batches(*args, **options))

    @staticmethod
    def _counted(batches: Iterator[Batch]) -> Iterator[Batch]:
        Mortal.passes += 1
        for batch in batches:
            if Mortal.passes == Mortal.dies_in:
                raise Killed
            yield batch


@pytest.fixture(autouse=True)
def immortal() -> Iterator[None]:
    Mortal.passes = Mortal.dies_in = 0
    yield
    Mortal.dies_in = 0


def noisy(mortal: bool = False) -> TrialData:
    data = colored(noise=150)
    if mortal:
        for images in (data.train, data.val):
            images.__class__ = Mortal
    return data


def left(folder: Path) -> dict[str, bytes]:
    """Return what a trial leaves to be recorded, by name."""
    artifacts = folder / "artifacts"
    return {path.relative_to(artifacts).as_posix(): path.read_bytes() for path in artifacts.rglob("*.*")}


def without_clock(outcome: TrialOutcome) -> dict[str, Any]:
    return outcome.model_dump(exclude=CLOCK)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_average_is_judged_and_kept_with_all_that_belongs_to_it(tmp_path: Path, ema: float) -> None:
    data = noisy()
    spec = spec_of(epochs=8, ema=ema, **NOISY)
    outcome, history = run(spec, tmp_path, data)
    folder, soup = TrialFolder(tmp_path), outcome.soup
    assert soup is not None
    assert outcome.best_epoch is not None
    assert outcome.best_value is not None
    assert len(soup.epochs) > 1
    assert soup.epochs[0] == outcome.best_epoch
    assert soup.best_epoch_value == max(epoch.values["val/accuracy"] for epoch in history)
    assert outcome.best_value >= soup.best_epoch_value

    kept = load_file(folder.weights_of(outcome.best_epoch))
    expected = averaged([read_leading(folder.leading_of(epoch)) for epoch in soup.epochs])
    measured = {name for name in kept if "running_" in name or "num_batches" in name}
    assert measured
    assert all(torch.equal(kept[name], expected[name]) for name in kept.keys() - measured)
    assert not all(torch.equal(kept[name], expected[name]) for name in measured)

    network = build_classifier(spec.config, 3)
    network.load_state_dict(kept)
    network.to(memory_format=torch.channels_last)
    found = evaluate(network, data.val.eval_batches(16, 8, network.mean, network.std), classes=3, device=CPU)
    assert found.values["accuracy"] == outcome.best_value == outcome.best_metrics["val/accuracy"]
    assert found.values["loss"] == pytest.approx(outcome.best_metrics["val/loss"], rel=1e-6)
    assert outcome.best_metrics["train/loss"] == history[outcome.best_epoch - 1].values["train/loss"]
    confusion, _ = read_confusion(folder.confusion / "best.csv")
    predictions = read_predictions(folder.predictions_of(outcome.best_epoch))
    assert np.array_equal(found.confusion, confusion)
    assert np.array_equal(predictions.confusion(3), confusion)
    _, right = read_right(folder.right)
    assert np.array_equal(right[-1], predictions.right)
    assert len(right) == len(history) + 1


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    _, plain = run(spec_of(epochs=4, **{**NOISY, "epoch_soup": 1}), tmp_path / "plain", noisy())
    _, souped = run(spec_of(epochs=4, **NOISY), tmp_path / "souped", noisy())
    assert comparable(plain) == comparable(souped)


def test_an_epoch_that_makes_the_average_worse_is_left_out_and_one_alone_is_kept_as_it_was(
    tmp_path: Path, weights: str
) -> None:
    slow = {"optimizer": {"name": "sgd", "lr": 0.01}, "scheduler": "constant"}  # a straight line to the minimum
    settled: dict[str, Any] = {**slow, "trainable": "head", "pretrained": weights}
    by_loss = ObjectiveConfig.model_validate({"metric": "val/loss"})
    plain, _ = run(spec_of(epochs=3, **settled), tmp_path / "plain", objective=by_loss)
    outcome, history = run(spec_of(epochs=3, **settled, epoch_soup=3), tmp_path / "soup", objective=by_loss)
    assert outcome.soup is not None
    assert outcome.soup.epochs == (outcome.best_epoch,)
    assert outcome.averaged_epochs == ()
    assert outcome.soup.best_epoch_value == outcome.best_value == min(e.values["val/loss"] for e in history)
    assert without_clock(outcome) | {"soup": None} == without_clock(plain)
    assert left(tmp_path / "soup") == left(tmp_path / "plain")
    assert outcome.reached_in == f"in epoch {outcome.best_epoch}"


@pytest.mark.sweeps
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.integers(1, 14), min_size=1, max_size=3),
    changes=st.sampled_from([{}, {"ema": 0.9}, SCHEDULE_FREE, {"trainable": "last_stage"}]),
    objective=st.sampled_from(["val/accuracy", "val/loss"]),
)
def test_a_trial_killed_anywhere_makes_the_same_average(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], changes: dict[str, Any], objective: str
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    spec = spec_of(epochs=4, head={"hidden": [4], "norm": "batch", "dropout": 0.2}, **{**NOISY, **changes})
    goal = ObjectiveConfig.model_validate({"metric": objective})
    Mortal.dies_in = 0
    outcome, history = run(spec, folder / "whole", noisy(), objective=goal)
    for kill in kills:  # eight passes make the epochs, and at most six more the averages
        Mortal.passes, Mortal.dies_in = 0, kill
        try:
            run(spec, folder / "broken", noisy(mortal=True), objective=goal)
        except Killed:
            continue
    resumed, replayed = run(spec, folder / "broken", noisy(), objective=goal)
    assert comparable(replayed) == comparable(history)
    assert without_clock(resumed) == without_clock(outcome)
    assert left(folder / "broken") == left(folder / "whole")


@pytest.mark.parametrize("passes", [9, 10, 11, 12])
@pytest.mark.parametrize("unfreezing", [None, {"head_epochs": 3, "stage_epochs": 1}])
def test_a_trial_killed_while_it_averages_makes_the_same_average(
    tmp_path: Path, passes: int, unfreezing: dict[str, int] | None
) -> None:
    head = {"hidden": [4], "norm": "batch", "dropout": 0.2}
    late: dict[str, Any] = {"unfreezing": unfreezing} if unfreezing else {}
    spec = spec_of(epochs=4, head=head, **NOISY, **late)
    outcome, _ = run(spec, tmp_path / "whole", noisy())
    assert outcome.averaged_epochs
    Mortal.dies_in = passes
    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", noisy(mortal=True))
    Mortal.dies_in = 0
    assert len(list(TrialFolder(tmp_path / "broken").leading.iterdir())) >= 3
    resumed, _ = run(spec, tmp_path / "broken", noisy())
    assert without_clock(resumed) == without_clock(outcome)
    assert left(tmp_path / "broken") == left(tmp_path / "whole")


def test_a_trial_that_has_ended_and_was_not_recorded_makes_the_same_average(tmp_path: Path) -> None:
    spec = spec_of(epochs=4, **NOISY)
    outcome, _ = run(spec, tmp_path, noisy())
    kept = left(tmp_path)
    again, _ = run(spec, tmp_path, noisy())
    assert without_clock(again) == without_clock(outcome)
    assert left(tmp_path) == kept


def test_the_disk_holds_the_leading_epochs_and_those_of_the_checkpoint_before(tmp_path: Path) -> None:
    folder, seen = TrialFolder(tmp_path), []

    def look(metrics: EpochMetrics) -> bool:
        seen.append((metrics.values["val/accuracy"], {path.name for path in folder.leading.iterdir()}))
        return False

    run(spec_of(epochs=8, **NOISY), tmp_path, noisy(), on_epoch=look)
    for number in range(1, len(seen) + 1):
        before, now = (
            sorted(range(1, last + 1), key=lambda epoch: (-seen[epoch - 1][0], epoch))[:3]
            for last in (number - 1, number)
        )
        assert seen[number - 1][1] == {folder.leading_of(epoch).name for epoch in {*before, *now}}
        assert len(seen[number - 1][1]) <= 4
    remove_checkpoints(folder)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".pt"]
    assert not list(folder.leading.iterdir())


def test_a_paused_trial_keeps_its_epochs_and_averages_them_when_it_is_complete(tmp_path: Path) -> None:
    spec, folder = spec_of(epochs=5, **NOISY), TrialFolder(tmp_path / "cut")
    outcome, _ = run(spec, tmp_path / "whole", noisy())
    paused, _ = run(spec.model_copy(update={"pause_after": 3}), folder.path, noisy())
    assert paused.state is TrialState.PAUSED
    assert paused.soup is None
    assert paused.best_epoch is not None
    assert len(list(folder.leading.iterdir())) == 3
    kept = load_file(folder.weights_of(paused.best_epoch))  # should it never go on
    best = read_leading(folder.leading_of(paused.best_epoch))
    assert all(torch.equal(kept[name], best[name]) for name in best)
    resumed, _ = run(spec, folder.path, noisy())
    assert without_clock(resumed) == without_clock(outcome)
    assert left(folder.path) == left(tmp_path / "whole")


def test_a_pruned_trial_keeps_its_best_epoch_and_makes_no_average(tmp_path: Path) -> None:
    plain, _ = run(
        spec_of(epochs=5, **{**NOISY, "epoch_soup": 1}), tmp_path / "a", noisy(), on_epoch=lambda m: m.epoch == 3
    )
    outcome, _ = run(spec_of(epochs=5, **NOISY), tmp_path / "b", noisy(), on_epoch=lambda m: m.epoch == 3)
    assert outcome.state is TrialState.PRUNED
    assert without_clock(outcome) == without_clock(plain)
    assert left(tmp_path / "a") == left(tmp_path / "b")


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped"])
def test_damaged_weights_of_a_leading_epoch_cost_epochs_and_never_a_digit(tmp_path: Path, harm: str) -> None:
    spec = spec_of(epochs=4, **NOISY)
    outcome, history = run(spec, tmp_path / "whole", noisy())

    def die(metrics: EpochMetrics) -> bool:
        if metrics.epoch == 3:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", noisy(), on_epoch=die)
    file = TrialFolder(tmp_path / "broken").leading_of(3)  # of three, all lead
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.unlink()
    if harm != "gone":
        file.write_bytes(content if harm == "flipped" else content[: len(content) // 2])
    resumed, replayed = run(spec, tmp_path / "broken", noisy())
    assert comparable(replayed) == comparable(history)
    assert without_clock(resumed) == without_clock(outcome)
    assert left(tmp_path / "broken") == left(tmp_path / "whole")


def test_heads_on_stored_features_are_averaged_and_written_with_their_backbone(tmp_path: Path, weights: str) -> None:
    features = FrozenFeatures(FeatureCache(tmp_path / "features"), FeaturesConfig(views=2), CPU)
    head = {"hidden": [8], "norm": "batch", "dropout": 0.2}
    spec = spec_of(epochs=6, trainable="head", pretrained=weights, head=head, augment={"flip": True}, **NOISY)
    data = noisy()
    outcome, _ = run(spec, tmp_path / "whole", data, features=features)
    assert outcome.on_features
    assert len(outcome.averaged_epochs) > 1
    network = build_classifier(spec.config, 3)
    network.load_state_dict(load_file(TrialFolder(tmp_path / "whole").weights_of(outcome.best_epoch or 0)))
    found = evaluate(network, data.val.eval_batches(16, 8, network.mean, network.std), classes=3, device=CPU)
    assert found.values["accuracy"] == pytest.approx(outcome.best_value, abs=1 / 30)

    def die(metrics: EpochMetrics) -> bool:
        if metrics.epoch == 4:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", data, features=features, on_epoch=die)
    resumed, _ = run(spec, tmp_path / "broken", data, features=features)
    assert without_clock(resumed) == without_clock(outcome)
    assert left(tmp_path / "broken") == left(tmp_path / "whole")


def test_an_autoencoder_is_averaged_too(tmp_path: Path) -> None:
    load_model_files([MODELS / "cifar10_autoencoder.py"])
    changes: dict[str, Any] = {"backbone": "cifar10_autoencoder_narrow", "image_size": 12, "epoch_soup": 3}
    rate: dict[str, Any] = {"optimizer": {"name": "adam", "lr": 0.02}, "scheduler": "constant"}
    spec = spec_of(epochs=12, **changes, **rate)
    spec = spec.model_copy(update={"task": ReconstructionConfig(name="reconstruction", every=2, images=4)})
    outcome, history = run(
        spec, tmp_path, colored(size=12, noise=20), objective=ObjectiveConfig.model_validate({"metric": "val/psnr"})
    )
    assert len(outcome.averaged_epochs) > 1
    assert outcome.best_value is not None
    assert outcome.best_value > max(epoch.values["val/psnr"] for epoch in history)


def test_trials_with_an_average_are_not_trained_as_a_stack() -> None:
    assert stack_key(spec_of(trainable="head").config) is not None
    assert stack_key(spec_of(trainable="head", epoch_soup=2).config) is None


class Full(DeviceImages):
    """Images that do not fit in memory any more in the passes after this many."""

    passes = 0
    fits = 0
    error: Exception = MemoryError()

    def eval_batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        Full.passes += 1
        if Full.passes > Full.fits:
            raise Full.error
        return super().eval_batches(*args, **options)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), DoesNotFit("an image")])
def test_want_of_memory_costs_the_average_and_not_the_trial(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    data = noisy()
    Full.passes, Full.fits, Full.error = 0, 4, error
    data.val.__class__ = Full
    outcome, _ = run(spec_of(epochs=4, **NOISY), tmp_path / "full", data)
    assert (outcome.state, outcome.feasible) == (TrialState.COMPLETE, True)
    assert "the best epochs are not averaged because memory ran out" in caplog.text
    plain, _ = run(spec_of(epochs=4, **{**NOISY, "epoch_soup": 1}), tmp_path / "plain", noisy())
    assert without_clock(outcome) | {"soup": None} == without_clock(plain)
    assert outcome.averaged_epochs == ()
    assert left(tmp_path / "full") == left(tmp_path / "plain")


def test_want_of_memory_on_one_of_several_devices_ends_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for what this one would send; the workers that start again have memory, or none of them has."""

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(epoch_soup, "_read_states", full)
    progress = Progress(before=0)
    progress.leading, progress.best_epoch, progress.best_value = [1, 2], 1, 0.5
    complete, learner = TrialOutcome(state=TrialState.COMPLETE), cast("Any", None)
    alone = Conditions(noisy(), ObjectiveConfig(), None, CPU)
    arguments = (learner, progress, TrialFolder(tmp_path))
    assert epoch_soup.with_average(complete, *arguments, alone, 0).averaged_epochs == ()
    both = replace(alone, ranks=Ranks(rank=1, count=2))
    with pytest.raises(RankLost, match="CUDA out of memory") as lost:
        epoch_soup.with_average(complete, *arguments, both, 0)
    assert lost.value.for_memory


def test_each_average_gives_signs_of_life(tmp_path: Path) -> None:
    signs: list[int] = []
    reported: list[int] = []

    def epoch(metrics: EpochMetrics) -> bool:
        reported.append(len(signs))
        return False

    outcome, _ = run(spec_of(epochs=8, **NOISY), tmp_path, noisy(), epoch, at_work=lambda: signs.append(1))
    assert reported == [0] * 8
    assert len(signs) > 2 * (len(outcome.averaged_epochs) - 1) > 0

"""Soups and ensembles of several trials of one study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper.config.hyperparameters import HeadConfig, TrialConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.errors import ModelError
from sweeper.export.export import export_model
from sweeper.export.export_input import ExportInput
from sweeper.export.load import load_classifier, load_export
from sweeper.export.merge import Contender, merged
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.ensemble import Ensemble
from sweeper.modeling.registry import load_model_files
from sweeper.scores.ensembling import greedy_ensemble, together
from sweeper.training.soup import averaged, greedy_soup, recompute_statistics
from tests.export.conftest import CLASSES, CPU, SMALL_RESNET, make_images, predicted, settled, source_of

CONFIG = TrialConfig(backbone="small_resnet", image_size=8, batch_size=40)
IMAGES = 1000
NOISE = 0.25  # of a weight, in standard deviations of its tensor


@dataclass(frozen=True)
class Study:
    """Trials that are one good network, each with noise of its own in the weights: the winner, then the others."""

    source: ExportInput
    leaders: tuple[Contender, ...]
    val: DeviceImages
    train: DeviceImages


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    load_model_files([SMALL_RESNET])
    pixels = make_images(8, IMAGES)
    good = settled(CONFIG, pixels)
    unlabelled = ImageSet(pixels, np.zeros(IMAGES, np.int64), CLASSES, {"val": np.arange(IMAGES)}, digest="0" * 32)
    labels = predicted(good, DeviceImages(unlabelled, "val", CPU), CONFIG)
    images = replace(unlabelled, labels=labels, splits={"val": np.arange(IMAGES), "train": np.arange(IMAGES)})
    val, train = DeviceImages(images, "val", CPU), DeviceImages(images, "train", CPU)
    leaders = [
        Contender(seed, CONFIG, noisy(good, seed, folder / f"{seed}.safetensors"), f"run{seed}") for seed in range(4)
    ]
    winner = load_classifier(CONFIG, len(CLASSES), leaders[0].weights)
    source = replace(source_of(winner, val, CONFIG, leaders[0].weights, 8), trial=0)
    return Study(source, tuple(leaders), val, train)


def noisy(classifier: Classifier, seed: int, path: Path) -> Path:
    generator = torch.Generator().manual_seed(seed)
    state = {name: tensor.clone().contiguous() for name, tensor in classifier.state_dict().items()}
    for name, tensor in state.items():
        if tensor.ndim > 1:
            state[name] = tensor + NOISE * tensor.std() * torch.randn(tensor.shape, generator=generator)
    save_file(state, path)
    return path


@pytest.mark.parametrize("kind", ["soup", "ensemble"])
def test_what_is_better_than_the_winner_by_more_than_chance_takes_its_place(
    study: Study, kind: str, tmp_path: Path
) -> None:
    found = merged(study.source, study.leaders, [kind], study.val, study.train, tmp_path)  # type: ignore[list-item]
    (tried,) = found.merges
    assert tried.kept
    assert tried.p < 0.05
    assert tried.judged_on == IMAGES // 2
    assert tried.accuracy > tried.winner_accuracy
    assert (tried.gained - tried.lost) / tried.judged_on == pytest.approx(tried.accuracy - tried.winner_accuracy)
    assert found.form == kind
    assert [member.trial for member in found.members] == list(tried.members)
    report = export_model(found, study.val, tmp_path / "export")
    assert report.verification.weights.off == 0
    assert [check.changed for check in report.verification.formats] == [0, 0]
    assert report.verification.weights.accuracy == found.metrics["val/accuracy"]
    card = (tmp_path / "export" / "README.md").read_text()
    assert f"| {kind} | {', '.join(map(str, tried.members))} | 0, 1, 2, 3 |" in card
    assert isinstance(load_export(tmp_path / "export").classifier, Ensemble if kind == "ensemble" else Classifier)
    made_of = {"soup": "the mean over its members", "ensemble": "all of its members"}[kind]
    assert f"| weights of | {made_of} |" in card
    assert "run1" in card or "run2" in card or "run3" in card


def test_an_ensemble_of_different_architectures_answers_with_the_mean_of_their_probabilities(
    study: Study, tmp_path: Path
) -> None:
    other = CONFIG.model_copy(update={"head": HeadConfig(hidden=(8,), norm="batch")})
    torch.manual_seed(0)
    members = [load_classifier(CONFIG, 5, study.leaders[0].weights), build_classifier(other, 5).eval()]
    images = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        expected = sum(member(images).softmax(1) for member in members) / 2
        found = Ensemble(members)(images).softmax(1)
    torch.testing.assert_close(found, expected)


def test_leaders_that_add_nothing_leave_the_winner_in_its_place(study: Study, tmp_path: Path) -> None:
    leaders = [study.leaders[0], replace(study.leaders[0], trial=9)]  # the same network twice
    found = merged(study.source, leaders, ["soup", "ensemble"], study.val, study.train, tmp_path)
    assert (found.form, found.weights, found.members) == ("single", study.source.weights, ())
    assert [tried.kind for tried in found.merges] == ["soup", "ensemble"]
    assert not any(tried.kept for tried in found.merges)


def test_a_network_of_another_shape_goes_into_no_soup(study: Study, tmp_path: Path) -> None:
    other = CONFIG.model_copy(update={"head": HeadConfig(hidden=(8,))})
    leaders = [*study.leaders[:2], replace(study.leaders[2], config=other)]
    (tried,) = merged(study.source, leaders, ["soup"], study.val, study.train, tmp_path).merges
    assert tried.considered == (0, 1)


def test_batch_statistics_of_a_soup_are_those_of_its_own_activations(study: Study) -> None:
    states = [load_file(leader.weights) for leader in study.leaders[:2]]
    classifier = build_classifier(CONFIG, 5)
    classifier.load_state_dict(averaged(states))
    (batch,) = study.train.eval_batches(IMAGES, 8, classifier.mean, classifier.std)
    recompute_statistics(classifier, [batch])
    with torch.no_grad():
        here = classifier(batch.inputs)
        classifier.train()
        there = classifier(batch.inputs)
    assert not torch.equal(averaged(states)["head.linear_out.weight"], states[0]["head.linear_out.weight"])
    torch.testing.assert_close(
        here, there, rtol=0.05, atol=0.05
    )  # running variance is unbiased, that of a batch is not


def test_an_image_counts_the_same_in_a_short_batch_and_one_alone_in_the_last_is_no_error(study: Study) -> None:
    classifier = build_classifier(CONFIG, 5)
    (batch,) = study.train.eval_batches(IMAGES, 8, classifier.mean, classifier.std)
    first = next(module for module in classifier.modules() if isinstance(module, _BatchNorm))
    recompute_statistics(classifier, [batch])
    assert first.running_mean is not None
    whole = first.running_mean.clone()
    for short in (1, 2, 7):
        parts = [slice(0, IMAGES - short), slice(IMAGES - short, IMAGES)]
        recompute_statistics(classifier, [Batch(batch.inputs[part], batch.labels[part]) for part in parts])
        if short > 1:  # one alone has no variance, and is left out
            torch.testing.assert_close(first.running_mean, whole)


def test_statistics_of_a_mirroring_network_are_those_of_the_images_themselves(study: Study) -> None:
    plain, mirroring = build_classifier(CONFIG, 5), build_classifier(CONFIG, 5)
    mirroring.load_state_dict(plain.state_dict())
    mirroring.mirrored = True
    for classifier in (plain, mirroring):
        recompute_statistics(classifier, study.train.eval_batches(20, 8, classifier.mean, classifier.std))
    assert mirroring.mirrored
    found = mirroring.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in plain.state_dict().items())


def test_statistics_of_a_frozen_backbone_stay(study: Study) -> None:
    frozen = build_classifier(CONFIG.model_copy(update={"trainable": "head"}), 5)
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    recompute_statistics(frozen, study.train.eval_batches(100, 8, frozen.mean, frozen.std))
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_greedy_soup_never_ends_below_its_winner(gains: list[float]) -> None:
    ranked = sorted(gains, reverse=True)

    def accuracy(members: tuple[int, ...]) -> float:
        return float(np.mean([ranked[member] for member in members]))

    chosen = greedy_soup(len(ranked), accuracy)
    assert chosen[0] == 0
    assert accuracy(chosen) >= accuracy((0,))


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(1, 5))
def test_a_greedy_ensemble_is_at_least_as_accurate_where_it_was_chosen(seed: int, members: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 60)
    logits = [
        random.normal(0, 1, (60, 4)).astype(np.float32) + np.eye(4, dtype=np.float32)[labels] for _ in range(members)
    ]
    chosen = greedy_ensemble(logits, labels)
    mean = np.mean([softmax(logits[number], axis=1) for number in chosen], axis=0)
    np.testing.assert_allclose(np.exp(together([logits[number] for number in chosen])), mean, rtol=1e-5)
    assert (mean.argmax(1) == labels).mean() >= (logits[0].argmax(1) == labels).mean()
    assert len(set(chosen)) == len(chosen)


def test_members_that_normalise_differently_are_refused(study: Study) -> None:
    one, other = (load_classifier(CONFIG, 5, study.leaders[0].weights) for _ in range(2))
    other.mean = (0.1, 0.2, 0.3)
    with pytest.raises(ModelError, match="normalise images differently"):
        Ensemble([one, other])

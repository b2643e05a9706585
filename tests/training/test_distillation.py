"""Learning from a teacher: the loss by its formula, what the teacher sees, and trials that are taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from sweeper.config.hyperparameters import DistillationConfig, TrialConfig
from sweeper.config.sweep import FeaturesConfig
from sweeper.data.batches import Batch
from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.ensemble import Ensemble
from sweeper.paths import TrialFolder
from sweeper.results import Teacher, TrialOutcome, TrialSpec, TrialState
from sweeper.training.distillation import TeacherNetwork, Teachers, taught, view_of
from sweeper.training.features import can_use_features
from sweeper.training.forward import Forward
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.loss import Loss
from sweeper.training.micro_batch import Limits, MicroBatches
from tests.training.learnable import CPU, colored, comparable, run, spec_of, squares

TAUGHT = {"name": "study:big/best", "temperature": 3.0, "weight": 0.7}
TEACHER = TrialConfig(backbone="test_resnet", image_size=12)


def classifier(seed: int, mean: float = 0.5, std: float = 0.5) -> Classifier:
    torch.manual_seed(seed)
    built = build_classifier(TEACHER, 3)
    return Classifier(built.backbone, built.head, (mean,) * 3, (std,) * 3)


def teacher_of(network: Classifier | Ensemble, image_size: int = 12) -> TeacherNetwork:
    return TeacherNetwork(network.requires_grad_(False).eval(), image_size)


def saved(folder: Path, *networks: Classifier) -> Teacher:
    """Return a teacher whose weights lie in a file: one network, or an ensemble of several."""
    whole = networks[0] if len(networks) == 1 else Ensemble(networks)
    save_file(whole.state_dict(), folder / "teacher.safetensors")
    weights = str(folder / "teacher.safetensors")
    return Teacher(weights=weights, digest="0" * 32, networks=(TEACHER,) * len(networks), classes=3)


def trained_teacher(folder: Path) -> Teacher:
    """Return a teacher that has learned the colors of squares."""
    outcome, _ = run(spec_of(epochs=6, image_size=12), folder / "of-teacher", colored(train=240, size=12))
    assert outcome.best_epoch is not None
    assert outcome.best_value == pytest.approx(1.0, abs=0.1)
    weights = str(TrialFolder(folder / "of-teacher").weights_of(outcome.best_epoch))
    return Teacher(weights=weights, digest="1" * 32, networks=(TEACHER,), classes=3)


def student(by: Teacher | None, epochs: int = 3, **changes: Any) -> TrialSpec:
    return spec_of(epochs=epochs, **{"teacher": TAUGHT, **changes}).model_copy(update={"teacher": by})


def test_the_loss_is_that_of_hinton_and_counts_by_its_weight() -> None:
    images, logits = torch.randn(4, 3, 12, 12), torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    network, of_labels = classifier(0), Loss(0.1)
    batch = Batch(images, labels, labels.roll(1), torch.rand(4))
    found = taught(of_labels, DistillationConfig(**TAUGHT), teacher_of(network), classifier(1), CPU)(logits, batch)
    told, temperature, weight = network(images), 3.0, 0.7
    wanted = (told / temperature).softmax(1)
    apart = (wanted * (wanted.log() - (logits / temperature).log_softmax(1))).sum(1)
    expected = (1 - weight) * of_labels(logits, batch) + weight * temperature**2 * apart
    assert torch.allclose(found, expected, atol=1e-5)
    found.sum().backward()
    assert logits.grad is not None


def test_the_loss_by_an_ensemble_is_that_of_the_mean_of_its_members_probabilities() -> None:
    members = [classifier(seed).eval() for seed in (0, 1, 2)]
    images, logits = torch.randn(4, 3, 12, 12), torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    student, config = classifier(3), DistillationConfig(**TAUGHT)
    batch = Batch(images, labels, labels, torch.ones(4))
    found = taught(Loss(), config, teacher_of(Ensemble(members)), student, CPU)(logits, batch)
    mean = np.mean([softmax(member(images).detach().numpy().astype(float), axis=1) for member in members], axis=0)
    wanted = mean ** (1 / 3.0)  # softmax(log(mean) / T)
    wanted /= wanted.sum(axis=1, keepdims=True)
    got = softmax(logits.numpy().astype(float) / 3.0, axis=1)
    apart = (wanted * np.log(wanted / got)).sum(axis=1)
    of_labels = -np.log(softmax(logits.numpy().astype(float), axis=1)[np.arange(4), labels.numpy()])
    assert found.numpy() == pytest.approx(0.3 * of_labels + 0.7 * 9.0 * apart, abs=1e-5)


def test_the_teacher_sees_the_students_images_in_its_own_size_and_normalisation() -> None:
    pixels = torch.rand(2, 3, 24, 24)
    teacher = teacher_of(classifier(0, mean=0.3, std=0.2), image_size=24)
    of_student, of_teacher = (pixels - 0.5) / 0.25, (pixels - 0.3) / 0.2
    view = view_of(teacher, classifier(1, mean=0.5, std=0.25), CPU)
    assert torch.allclose(view(of_student), of_teacher, atol=1e-5)
    small = functional.interpolate(of_student, (8, 8), mode="bicubic", antialias=True)
    assert view(small).shape == (2, 3, 24, 24)
    assert (view(small).mean() - of_teacher.mean()).abs() < 0.05


@pytest.mark.parametrize("limit", [1, 3, 8])
@pytest.mark.parametrize("members", [1, 2])
def test_parts_of_a_batch_are_taught_what_the_whole_is(limit: int, members: int) -> None:
    network = classifier(1).eval()  # so that batch statistics do not depend on the parts
    teacher = teacher_of(classifier(0) if members == 1 else Ensemble([classifier(0), classifier(2)]))
    losses_of = taught(Loss(), DistillationConfig(**TAUGHT), teacher, network, CPU)
    batch = Batch(torch.randn(8, 3, 12, 12), torch.arange(8) % 3, torch.arange(8).flip(0) % 3, torch.rand(8))
    gradients: list[Tensor] = []
    for most in (8, limit):
        sizes, start = MicroBatches(CPU, limits=Limits(training=most)), StepStart(network, CPU)
        compute_gradients(Forward(network, CPU), batch, losses_of, sizes, start)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))  # type: ignore[union-attr]
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


def test_a_teacher_alone_teaches_what_wrong_labels_do_not(tmp_path: Path) -> None:
    train = replace_labels(colored(train=240, size=12), squares((np.arange(270) + 1) % 3, 240, 3, 12))
    teacher = trained_teacher(tmp_path)
    settings: dict[str, Any] = {"image_size": 12, "epochs": 4}
    alone, _ = run(student(teacher, **settings, teacher={**TAUGHT, "weight": 1.0}), tmp_path / "taught", train)
    wrong, _ = run(spec_of(**settings), tmp_path / "wrong", train)
    assert alone.best_value is not None
    assert wrong.best_value is not None
    assert alone.best_value > 0.9 > 0.7 > wrong.best_value


def replace_labels(data: Any, other: Any) -> Any:
    """Return data whose training images bear the labels of others."""
    data.train.labels = other.train.labels
    data.train.host_labels = other.train.host_labels
    return data


@pytest.mark.parametrize("seeds", [(3,), (3, 4)], ids=["one network", "an ensemble"])
def test_a_taught_trial_that_was_interrupted_equals_one_that_was_not(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    teacher = saved(tmp_path, *map(classifier, seeds))
    before = load_file(teacher.weights)
    spec = student(teacher, augment={"mixup": 0.4, "flip": True}, progressive_resizing=0.7, drop_rate=0.1)
    whole, history = run(spec, tmp_path / "whole")

    def stop(metrics: Any) -> bool:
        if metrics.epoch == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cut", on_epoch=stop)
    again, resumed = run(spec, tmp_path / "cut", teachers=Teachers(CPU))
    assert comparable(resumed) == comparable(history)
    assert again.best_value == whole.best_value
    plain, _ = run(spec_of(augment={"mixup": 0.4, "flip": True}, drop_rate=0.1), tmp_path / "plain")
    assert plain.best_metrics != whole.best_metrics
    assert all(torch.equal(before[name], tensor) for name, tensor in load_file(teacher.weights).items())


def test_an_ensemble_teaches_by_the_mean_of_its_members(tmp_path: Path) -> None:
    members = (classifier(0), classifier(1))
    loaded = Teachers(CPU).of(student(saved(tmp_path, *members)))
    assert loaded is not None
    images = torch.randn(2, 3, 12, 12)
    mean = torch.stack([member.eval()(images).softmax(1) for member in members]).mean(0)
    assert torch.allclose(loaded.network(images).softmax(1), mean, atol=1e-5)
    assert not loaded.network.training


def test_an_ensemble_teaches_the_same_from_images_that_are_streamed(tmp_path: Path) -> None:
    spec = student(saved(tmp_path, classifier(0), classifier(1)), augment={"flip": True, "mixup": 0.4})
    _, resident = run(spec, tmp_path / "resident", colored(resident=True))
    _, streamed = run(spec, tmp_path / "streamed", colored(resident=False))
    assert comparable(streamed) == comparable(resident)


def test_trials_share_a_teacher_until_memory_is_short(tmp_path: Path) -> None:
    spec, teachers = student(saved(tmp_path, classifier(0))), Teachers(CPU)
    first = teachers.of(spec)
    assert teachers.of(spec) is first
    assert teachers.of(spec_of()) is None
    assert teachers.drop()
    assert not teachers.drop()
    assert teachers.of(spec) is not first


def test_a_teacher_that_cannot_be_loaded_fails_the_trial_and_says_why(tmp_path: Path) -> None:
    other = saved(tmp_path, classifier(0)).model_copy(update={"classes": 4})
    outcome: TrialOutcome = run(student(other), tmp_path / "trial")[0]
    assert outcome.state is TrialState.FAILED
    assert "does not fit the teacher, test_resnet" in str(outcome.reason)
    with pytest.raises(ModelError, match="has not been given the weights of its teacher, study:big/best"):
        Teachers(CPU).of(student(None))


def test_a_head_with_a_teacher_learns_from_images_since_its_teacher_must_see_them() -> None:
    plain = TrialConfig(backbone="test_resnet", pretrained=True, trainable="head")
    config = TrialConfig.model_validate({**plain.model_dump(), "teacher": TAUGHT})
    assert can_use_features(plain, FeaturesConfig())
    assert not can_use_features(config, FeaturesConfig())

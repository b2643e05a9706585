"""Batches that do not fit go through in parts, which makes no difference to the optimizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sweeper.data.batches import Batch
from sweeper.errors import DoesNotFit
from sweeper.modeling.classifier import Classifier
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from sweeper.training.forward import Forward
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.loss import Loss
from sweeper.training.memory import still_works
from sweeper.training.micro_batch import Limits, MicroBatches, parts, recall_limits, remember_limits, smallest_part
from tests.training.learnable import CPU, comparable, spec_of
from tests.training.learnable import run as train_one

REPOSITORY = Path(__file__).resolve().parents[2]


class Small(nn.Module):
    """Accepts this many images at once and refuses more as torch's CUDA allocator does; counts what it saw."""

    def __init__(self, room: int, norm: bool = False, dropout: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.room = room
        self.seen: list[int] = []
        self.error: type[Exception] = torch.OutOfMemoryError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.dropout(self.norm(self.conv(images)))
        self.seen.append(len(images))
        if len(images) > self.room:
            raise self.error("no room")
        return features.mean((2, 3))


def classifier(room: int, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Small(room, **options), nn.Linear(4, 3), (0.5,) * 3, (0.5,) * 3).train()


def batch_of(count: int, mixed: bool = True) -> Batch:
    random = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 6, 6, generator=random)
    labels = torch.arange(count) % 3
    return (
        Batch(images, labels, labels.roll(1), torch.rand(count, generator=random)) if mixed else Batch(images, labels)
    )


UNEQUAL = Loss(0.1, gamma=1.5, class_weights=torch.tensor([0.2, 1.0, 3.0]))


def gradients(
    model: Classifier, batch: Batch, sizes: MicroBatches, clip: float | None = None, loss: Loss = UNEQUAL
) -> list[torch.Tensor]:
    compute_gradients(Forward(model, CPU), batch, loss, sizes, StepStart(model, CPU))
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 2]))
def test_parts_cover_the_batch_evenly_and_leave_no_image_alone_where_that_matters(
    count: int, limit: int, smallest: int
) -> None:
    limit = max(limit, smallest)
    cut = parts(count, limit, smallest)
    sizes = [part.stop - part.start for part in cut]
    assert [place for part in cut for place in range(part.start, part.stop)] == list(range(count))
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(smallest, count)
    assert max(sizes) <= max(limit, smallest + 1)


@pytest.mark.parametrize("count", [2, 7, 16])
@pytest.mark.parametrize("limit", [1, 3, 5])
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("loss", [Loss(0.1), UNEQUAL], ids=["cross-entropy", "weighted focal"])
def test_gradients_in_parts_equal_those_of_the_whole_batch(count: int, limit: int, mixed: bool, loss: Loss) -> None:
    sizes = MicroBatches(CPU, limits=Limits(training=limit))
    whole = gradients(classifier(99), batch_of(count, mixed), MicroBatches(CPU), clip=0.05, loss=loss)
    cut = gradients(classifier(99), batch_of(count, mixed), sizes, clip=0.05, loss=loss)
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_stays_so() -> None:
    model, sizes = classifier(room=5), MicroBatches(CPU)
    gradients(model, batch_of(16), sizes)
    assert model.backbone.seen == [16, 8, 4, 4, 4, 4]
    gradients(model, batch_of(16), sizes)
    assert model.backbone.seen[6:] == [4, 4, 4, 4]
    assert sizes.size(16) == 4


def test_a_step_made_again_has_the_same_random_numbers_and_batch_statistics() -> None:
    known = classifier(room=99, norm=True, dropout=0.5)
    torch.manual_seed(3)
    expected = gradients(known, batch_of(16), MicroBatches(CPU, 2, Limits(training=4)))
    found_out = classifier(room=5, norm=True, dropout=0.5)
    torch.manual_seed(3)
    found = gradients(found_out, batch_of(16), MicroBatches(CPU, 2))
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(known.buffers(), found_out.buffers(), strict=True))


def test_batch_normalisation_that_learns_never_gets_one_image_of_many() -> None:
    model = classifier(room=3, norm=True)
    sizes = MicroBatches(CPU, smallest_part(model))
    gradients(model, batch_of(7), sizes)
    assert 1 not in model.backbone.seen  # type: ignore[operator]
    assert smallest_part(model.eval()) == 1
    assert smallest_part(classifier(room=3)) == 1


def test_what_does_not_fit_one_by_one_either_is_reported() -> None:
    with pytest.raises(DoesNotFit, match="training with 1 image at once"):
        gradients(classifier(room=0), batch_of(4), MicroBatches(CPU))


def test_an_error_that_is_not_for_memory_stays_what_it_is() -> None:
    model: Any = classifier(room=0)
    model.backbone.error = RuntimeError
    with pytest.raises(RuntimeError, match="no room"):
        gradients(model, batch_of(8), MicroBatches(CPU))
    model.backbone.error = ValueError
    seen = len(model.backbone.seen)
    with pytest.raises(ValueError, match="no room"):
        gradients(model, batch_of(8), MicroBatches(CPU))
    assert len(model.backbone.seen) == seen + 1


def test_limits_are_remembered_for_later_trials_the_lowest_of_all(tmp_path: Path) -> None:
    file = Workspace(tmp_path).micro_batches("hf-hub:timm/resnet", 32, "all", "cpu")
    assert recall_limits(file) == Limits()
    remember_limits(file, Limits(training=8))
    remember_limits(file, Limits(training=16, evaluation=64))
    remember_limits(file, Limits())
    assert recall_limits(file) == Limits(training=8, evaluation=64)


def test_every_kill_for_memory_quarters_what_goes_through_at_once() -> None:
    assert Limits().quartered(64, 2, 0) == Limits()
    assert Limits().quartered(64, 2, 1) == Limits(training=16, evaluation=16)
    assert Limits(training=64).quartered(256, 2, 2) == Limits(training=4, evaluation=16)
    assert Limits().quartered(8, 2, 9) == Limits(training=2, evaluation=2)
    resumed = MicroBatches(CPU, 2, kills=2)
    resumed.load_state_dict({"training": 16, "evaluation": None, "kills": 1}, batch_size=64)
    assert (resumed.limits.training, resumed.kills) == (4, 2)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks refuse more than 6 images at once in training and 10 in evaluation; returns what they were given."""
    forward = Classifier.forward
    seen: list[int] = []

    def limited(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        if len(images) > (6 if self.training else 10):
            raise torch.OutOfMemoryError("no room")
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", limited)
    return seen


def run(folder: Path, limits_file: Path | None = None, **changes: Any) -> tuple[TrialOutcome, list[EpochMetrics]]:
    return train_one(spec_of(**changes), folder, limits_file=limits_file)


def test_a_trial_too_large_for_memory_completes_with_the_steps_of_whole_batches(
    tmp_path: Path, little_room: list[int]
) -> None:
    outcome, history = run(tmp_path, epochs=2, limits_file=tmp_path / "limits.json")
    assert outcome.state is TrialState.COMPLETE
    assert [point.values["micro_batch_size"] for point in history] == [4, 4]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["progress"]["steps"] == 2 * 4  # 60 images in batches of 16
    assert recall_limits(tmp_path / "limits.json") == Limits(training=4, evaluation=8)


def test_a_later_trial_starts_from_what_fitted(tmp_path: Path, little_room: list[int]) -> None:
    run(tmp_path / "a", epochs=1, limits_file=tmp_path / "limits.json")
    little_room.clear()
    run(tmp_path / "b", epochs=1, limits_file=tmp_path / "limits.json")
    assert max(little_room) <= 10


def test_a_resumed_trial_in_parts_equals_an_uninterrupted_one(tmp_path: Path, little_room: list[int]) -> None:
    class Killed(Exception):
        pass

    def die(metrics: EpochMetrics) -> bool:
        raise Killed

    _, whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        train_one(spec_of(), tmp_path / "broken", on_epoch=die)
    little_room.clear()
    _, resumed = run(tmp_path / "broken")
    assert max(little_room) <= 10  # from the checkpoint, not found out again

    assert comparable(resumed) == comparable(whole)


def test_a_trial_that_fits_in_no_way_is_pruned_as_not_feasible_and_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Classifier, "forward", refuse)
    outcome, _ = run(tmp_path)
    assert (outcome.state, outcome.feasible, outcome.best_value) == (TrialState.PRUNED, False, None)
    assert (outcome.reason or "").startswith("does not fit in memory: training with 2 images at once")
    assert "test_resnet at 8 pixels, batch size 16" in (outcome.reason or "")


UNDER_A_CAP = """
import json, resource, sys
import torch, timm
from sweeper.data.batches import Batch
from sweeper.errors import DoesNotFit
from sweeper.modeling.classifier import Classifier
from sweeper.training.forward import Forward
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.loss import Loss
from sweeper.training.memory import still_works
from sweeper.training.micro_batch import MicroBatches

cpu, SIZE = torch.device("cpu"), 32768
layers = [torch.nn.Linear(256, 256), torch.nn.ReLU()] * 8
body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 256), *layers)

class TooLarge(torch.nn.Module):
    def forward(self, images):
        torch.empty(1 << 28)  # 1 GB, whatever the batch
        return torch.zeros(len(images), 256)

models = [Classifier(part, torch.nn.Linear(256, 3), (0.5,) * 3, (0.5,) * 3).train() for part in (body, TooLarge())]
batch = Batch(torch.randn(SIZE, 3, 4, 4), torch.zeros(SIZE, dtype=torch.int64))
small = Batch(batch.inputs[:2], batch.labels[:2])
compute_gradients(Forward(models[0], cpu), small, Loss(), MicroBatches(cpu), StepStart(models[0], cpu))
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
found = []
for model in models:
    sizes = MicroBatches(cpu)
    resource.setrlimit(resource.RLIMIT_AS, (used + (240 << 20), resource.RLIM_INFINITY))
    try:
        compute_gradients(Forward(model, cpu), batch, Loss(), sizes, StepStart(model, cpu))
        fits = True
    except DoesNotFit:
        fits = False
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found.append([fits, sizes.size(SIZE), sizes.memory_was_refused, still_works(cpu)])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux caps the address space")
def test_torchs_cpu_allocator_refusing_memory_halves_the_batch_or_says_that_nothing_fits() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", UNDER_A_CAP]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=120)
    (fits, size, refused, works), (fits_in_nothing, _, refused_again, _) = json.loads(done.stdout.splitlines()[-1])
    assert (fits, refused, works) == (True, True, True)
    assert 8 < size < 32768
    assert (fits_in_nothing, refused_again) == (False, True)


def test_a_device_that_works_is_known_to() -> None:
    assert still_works(CPU)


def test_no_part_is_smaller_than_batch_normalisation_allows() -> None:
    sizes = MicroBatches(torch.device("cpu"), smallest=2, limits=Limits(training=1))
    assert (sizes.size(16), sizes.size(1)) == (2, 1)

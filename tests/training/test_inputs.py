"""Training images that grow, and networks that do not take them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.results import TrialState
from sweeper.training.inputs import sized, training_size
from tests.training.learnable import colored, comparable, run, spec_of


def test_images_grow_in_eighths_over_two_thirds_of_the_epochs() -> None:
    assert [training_size(32, 0.5, epoch, 6) for epoch in range(1, 7)] == [16, 20, 24, 28, 32, 32]
    assert [training_size(224, 0.5, epoch, 6) for epoch in range(1, 7)] == [128, 128, 160, 192, 224, 224]


@given(st.integers(8, 512), st.floats(0.1, 1), st.integers(1, 200), st.data())
def test_sizes_never_fall_and_end_whole(side: int, first: float, epochs: int, data: st.DataObject) -> None:
    sizes = [training_size(side, first, epoch, epochs) for epoch in range(1, epochs + 1)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == side
    assert min(sizes) >= 8


def test_whole_images_are_the_default_and_borders_shrink_with_the_image() -> None:
    assert [training_size(64, 1.0, epoch, 6) for epoch in range(1, 7)] == [64] * 6
    augment = AugmentConfig(crop_padding=4, flip=True)
    assert sized(augment, 0.5) == AugmentConfig(crop_padding=2, flip=True)
    assert sized(augment, 1.0) is augment


def test_a_trial_learns_from_growing_images_and_is_validated_on_whole_ones(tmp_path: Path) -> None:
    data, spec = colored(size=16), spec_of(epochs=4, image_size=16, progressive_resizing=0.5)
    outcome, growing = run(spec, tmp_path / "growing", data)
    _, whole = run(spec_of(epochs=4, image_size=16), tmp_path / "whole", data)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.best_value is not None
    assert outcome.best_value > 0.9
    assert comparable(growing[:1]) != comparable(whole[:1])
    run(spec.model_copy(update={"pause_after": 2}), tmp_path / "cut", data)
    _, resumed = run(spec, tmp_path / "cut", data)
    assert comparable(resumed) == comparable(growing)


@pytest.mark.parametrize("backbone", ["test_vit"])
def test_a_network_of_one_size_is_refused_with_the_way_out(tmp_path: Path, backbone: str) -> None:
    spec = spec_of(epochs=4, backbone=backbone, image_size=32, progressive_resizing=0.5)
    outcome, _ = run(spec, tmp_path, colored(size=32))
    assert outcome.state is TrialState.FAILED
    assert outcome.reason is not None
    assert outcome.reason.startswith("test_vit does not take images of 24 pixels, which progressive_resizing comes to")
    assert outcome.reason.endswith("set progressive_resizing to 1")

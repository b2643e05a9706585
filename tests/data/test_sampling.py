"""What an epoch draws: the asked-for share of every class, nothing twice before all came once, by its seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.batches import DeviceImages
from sweeper.data.sampling import class_shares, epoch_order
from tests.data.test_batches import FAST, MEAN, STD, image_set

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


@given(COUNTS, st.floats(0, 1), st.integers(0, 99))
def test_an_epoch_has_as_many_images_as_the_split_and_of_each_class_its_share(
    counts: list[int], sampling: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    order = epoch_order(labels, sampling, np.random.default_rng(seed))
    drawn = np.bincount(labels[order], minlength=len(counts))
    expected = class_shares(np.array(counts), sampling) * len(labels)
    assert len(order) == len(labels)
    assert (np.abs(drawn - expected) < 1 + 1e-9).all()
    for kind, count in enumerate(counts):
        times = np.bincount(order, minlength=len(labels))[labels == kind]
        assert not count or times.max() - times.min() <= 1


@given(COUNTS, st.integers(0, 99))
def test_without_sampling_an_epoch_is_the_permutation_it_has_always_been(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    order = epoch_order(labels, 0.0, np.random.default_rng(seed))
    assert (order == np.random.default_rng(seed).permutation(len(labels))).all()


def test_shares_over_many_epochs_are_exact() -> None:
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    rng = np.random.default_rng(0)
    drawn = np.mean([np.bincount(labels[epoch_order(labels, 0.5, rng)]) for _ in range(400)], axis=0)
    assert drawn == pytest.approx(class_shares(np.array([90, 9, 1]), 0.5) * 100, abs=0.1)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_drawn_alike_depend_on_seed_and_epoch_alone_and_are_as_many(resident: bool) -> None:
    def drawn(epoch: int, sampling: float) -> list[int]:
        images = DeviceImages(image_set(), "train", "cpu", resident=resident)
        batches = list(images.train_batches(8, FAST, 10, MEAN, STD, 1, epoch, sampling))
        assert len(batches) == images.steps(8)
        return [int(label) for batch in batches for label in batch.labels]

    assert drawn(3, 1.0) == drawn(3, 1.0)
    assert drawn(3, 1.0) != drawn(4, 1.0)
    assert sorted(drawn(3, 1.0)) != sorted(drawn(3, 0.0))

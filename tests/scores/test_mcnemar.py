from __future__ import annotations

import numpy as np
import pytest

from sweeper.scores.mcnemar import PairedCounts, paired


def test_only_images_on_which_two_classifiers_differ_are_counted() -> None:
    first, second = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 1, 0], bool)
    found = paired(first, second)
    assert (found.gained, found.lost, found.images) == (2, 1, 5)
    assert found.difference == pytest.approx(0.2)


def test_mcnemar_counts_the_ways_to_gain_as_much_by_chance() -> None:
    assert PairedCounts(100, gained=4, lost=0).p_better == pytest.approx(1 / 16)
    assert PairedCounts(100, gained=0, lost=0).p_better == 1.0
    assert PairedCounts(100, gained=1, lost=3).p_better > 0.9


def test_the_interval_of_the_difference_holds_it_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        kind = random.choice(3, 500, p=[0.9, 0.06, 0.04])  # alike, gained, lost
        found = PairedCounts(500, gained=int((kind == 1).sum()), lost=int((kind == 2).sum()))
        held.append(abs(found.difference - 0.02) <= found.margin)
    assert 0.92 <= np.mean(held) <= 0.98

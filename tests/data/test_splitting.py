from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import DatasetConfig, LimitConfig
from sweeper.data.index import build_index
from sweeper.data.splitting import limit_splits, split_by_fraction, thin_out
from sweeper.paths import Workspace
from tests.pictures import write_class_folders

CLASS_SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(CLASS_SIZES, st.floats(0.01, 0.99), st.integers(0, 5))
def test_split_is_disjoint_complete_and_stratified(sizes: list[int], fraction: float, seed: int) -> None:
    labels = labels_of(sizes)
    kept, drawn = split_by_fraction(labels, np.arange(len(labels)), fraction, np.random.default_rng(seed))
    assert sorted([*kept, *drawn]) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        count = int((labels[drawn] == label).sum())
        assert abs(count - fraction * size) <= 1
        assert size < 2 or 1 <= count < size


@given(CLASS_SIZES, st.integers(1, 200))
def test_thinned_split_has_the_number_asked_for_and_even_shares(sizes: list[int], most: int) -> None:
    labels = labels_of(sizes)
    rows = thin_out(labels, np.arange(len(labels)), most, np.random.default_rng(1))
    assert len(rows) == min(most, len(labels))
    assert len(set(rows)) == len(rows)
    for label, size in enumerate(sizes):
        assert abs((labels[rows] == label).sum() - size * len(rows) / len(labels)) < 1


def test_split_depends_on_the_seed_alone() -> None:
    labels = labels_of([40, 40])
    draws = [split_by_fraction(labels, np.arange(80), 0.5, np.random.default_rng(seed))[1] for seed in (0, 0, 1)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def test_limits_apply_to_each_split() -> None:
    labels = labels_of([30, 30])
    splits = {"train": np.arange(40), "val": np.arange(40, 60)}
    thinned = limit_splits(splits, labels, LimitConfig(train_images=10), seed=0)  # type: ignore[arg-type]
    assert len(thinned["train"]) == 10
    assert len(thinned["val"]) == 20


def test_limit_leaves_unused_images_out_of_the_index(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", dict.fromkeys("abc", 20))
    limit = LimitConfig(classes=2, train_images=8, val_images=4)
    index = build_index(DatasetConfig(path=str(tmp_path / "d"), limit=limit), workspace)
    assert index.classes == ("a", "b")
    assert len(index.paths) == 12
    assert np.bincount(index.labels[index.splits["train"]]).tolist() == [4, 4]
    assert np.bincount(index.labels[index.splits["val"]]).tolist() == [2, 2]


def test_index_does_not_depend_on_the_order_in_which_files_were_made(tmp_path: Path, workspace: Workspace) -> None:
    counts = {"b": 9, "a": 9}
    write_class_folders(tmp_path / "one", counts)
    write_class_folders(tmp_path / "two", dict(reversed(counts.items())))
    one, two = (build_index(DatasetConfig(path=str(tmp_path / name)), workspace) for name in ("one", "two"))
    assert list(one.paths) == list(two.paths)
    assert (one.splits["val"] == two.splits["val"]).all()

"""Images that judge must not be among those that earlier weights have learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.data.index import build_index
from sweeper.errors import ConfigError
from sweeper.paths import Workspace
from sweeper.study.unseen_images import Earlier, changed_since, require_drawn_alike
from tests.pictures import write_class_folders

KEY = "search.pretrained"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", {"cat": 40, "dog": 40})


def sweep_of(images: Path, study: str = "b", **changes: Any) -> SweepConfig:
    dataset = {"path": str(images), "val_fraction": 0.2, **changes}
    return SweepConfig.model_validate({"study": study, "dataset": dataset, "search": {"backbone": "r"}})


def told(ours: SweepConfig, theirs: SweepConfig, workspace: Workspace, **then: Any) -> str | None:
    index = build_index(theirs.dataset, workspace)
    counts = {split: len(rows) for split, rows in index.splits.items()}
    earlier = Earlier(KEY, theirs, "then", then.get("images", counts))
    own = build_index(ours.dataset, workspace)
    require_drawn_alike(ours, own, earlier, workspace)
    return changed_since(ours, own, then.get("digest", "now"), earlier, workspace)


@pytest.mark.parametrize("change", [{"split_seed": 1}, {"test_fraction": 0.15}, {"val_fraction": 0.4}])
def test_a_split_that_is_drawn_otherwise_is_refused_with_the_number_of_images(
    images: Path, workspace: Workspace, change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=rf"{KEY}: a was trained on \d+ of the \d+ val images"):
        told(sweep_of(images, **change), sweep_of(images, "a"), workspace)


def test_the_same_split_and_other_images_are_taken(images: Path, workspace: Workspace, tmp_path: Path) -> None:
    assert told(sweep_of(images), sweep_of(images, "a"), workspace) is None
    assert told(sweep_of(images, limit={"train_images": 10}), sweep_of(images, "a"), workspace) is None
    others = write_class_folders(tmp_path / "others", {"cat": 40, "dog": 40})
    assert told(sweep_of(others, split_seed=1), sweep_of(images, "a"), workspace) is None
    assert told(sweep_of(images), sweep_of(images, "a"), workspace, digest="then", images={"train": 5}) is None


def test_images_that_were_added_since_are_warned_of_where_the_split_is_drawn(
    images: Path, workspace: Workspace, tmp_path: Path
) -> None:
    then = {"train": 50, "val": 12}
    ways: tuple[dict[str, Any], ...] = ({}, {"on_bad_image": "skip"})
    for all_used in ways:
        warned = told(sweep_of(images, **all_used), sweep_of(images, "a", **all_used), workspace, images=then)
        assert "the images have changed since a was trained on them" in (warned or "")
    skipped: dict[str, Any] = {"on_bad_image": "skip", "limit": {"train_images": 10}}
    assert told(sweep_of(images, **skipped), sweep_of(images, "a", on_bad_image="skip"), workspace) is None
    given = write_class_folders(tmp_path / "given", {"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2})
    ours, theirs = (
        SweepConfig.model_validate({"study": name, "dataset": {"path": str(given)}, "search": {"backbone": "r"}})
        for name in "ba"
    )
    assert told(ours, theirs, workspace, images=then) is None


def test_an_autoencoder_is_judged_by_its_images_too_but_teaches_no_labels(images: Path, workspace: Workspace) -> None:
    def autoencoder(name: str, **changes: Any) -> SweepConfig:
        content = sweep_of(images, name, **changes).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        task = {"task": {"name": "reconstruction"}, "objective": {"metric": "val/psnr"}}
        return SweepConfig.model_validate({**content, **task})

    assert told(sweep_of(images, split_seed=1), autoencoder("a"), workspace) is None
    with pytest.raises(ConfigError, match="a was trained on"):
        told(autoencoder("b", split_seed=1), autoencoder("a"), workspace)

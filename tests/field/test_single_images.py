"""A batch of one image with batch normalisation: said before the start, by branch of the search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.modeling.single_images import untrainable_on_one
from tests.functional.answer import Ask, ask
from tests.pictures import write_split_folders

__all__ = ["ask"]  # a fixture


def failing(**search: Any) -> list[str]:
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"batch_size": 1, **search}}
    return untrainable_on_one(SweepConfig.model_validate(content).model_dump_json(by_alias=True))


def test_every_branch_that_would_fail_is_named_and_no_other() -> None:
    heads = {"choice": [{"hidden": [8], "norm": "batch"}, {"hidden": [8]}]}
    assert failing(backbone="resnet10t", image_size=32, head=heads) == [
        "resnet10t at 32 pixels, head hidden=[8], norm=batch",
        "resnet10t at 32 pixels, head hidden=[8]",
    ]
    assert failing(backbone="resnet10t", image_size=64, head=heads) == [
        "resnet10t at 64 pixels, head hidden=[8], norm=batch"
    ]
    assert not failing(backbone={"choice": ["test_vit", "convnext_atto"]}, image_size=160)
    assert failing(backbone="resnet10t", image_size=32, trainable={"choice": ["all", "head"]}) == [
        "resnet10t at 32 pixels, trainable all"
    ]


@pytest.mark.parametrize("batch_size", ["1", "{choice: [32, 1]}", "{int: [1, 8]}"])
def test_a_run_is_refused_before_it_begins(ask: Ask, tmp_path: Path, batch_size: str) -> None:
    write_split_folders(tmp_path / "d")
    space = "study: s\ndataset: {path: d}\nsearch: {backbone: resnet10t, image_size: 32, batch_size: %s}\n"
    (tmp_path / "space.yaml").write_text(space % batch_size)
    answer = ask("run", "space.yaml")
    assert answer.code == 2
    assert "space.yaml:3: search.batch_size: a batch of 1 image cannot be trained" in answer.err
    assert "resnet10t at 32 pixels" in answer.err
    assert "Take 2 images or more" in answer.err
    assert not (tmp_path / "optuna.db").exists()


def test_a_batch_that_is_set_on_the_command_line_is_refused_there(ask: Ask, tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / "space.yaml").write_text(
        "study: s\ndataset: {path: d}\nsearch: {backbone: resnet10t, image_size: 32, batch_size: 8}\n"
    )
    answer = ask("run", "space.yaml", "--set", "search.batch_size=1")
    assert answer.code == 2
    assert "--set search.batch_size=1: search.batch_size: a batch of 1 image cannot be trained" in answer.err

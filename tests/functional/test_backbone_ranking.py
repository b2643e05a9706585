"""Backbones that are ranked before a search: the real program, with weights in a cache of the model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "shapes",
    "dataset": {"builtin": "digits", "limit": {"train_images": 200, "val_images": 100}},
    "budget": {"trials": 2, "epochs": 2},
    "backbone_ranking": {"keep": 1, "epochs": 3},
    "sampler": "random",
    "pruner": "none",
    "device": "cpu",
    "search": {
        "backbone": {"choice": ["test_resnet", "test_efficientnet", "test_vit2"]},
        "pretrained": True,
        "image_size": 32,
        "batch_size": 50,
        "optimizer": {"name": "adamw", "lr": {"float": [1e-3, 1e-2]}},
    },
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep weights of two of the three, as the hub's own client does."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("test_resnet", "test_efficientnet"):
        torch.manual_seed(0)
        config = timm.get_pretrained_cfg(name)
        assert config is not None
        place = tmp_path / "hf" / "hub" / f"models--{str(config.hf_hub_id).replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("abc")
        (place / "snapshots" / "abc").mkdir(parents=True)
        state = timm.create_model(name).state_dict()
        save_file(state, place / "snapshots" / "abc" / "model.safetensors")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("ranked", [True, False])
def test_weights_that_are_not_here_and_cannot_come_are_refused_before_anything_is_made(
    tmp_path: Path, ranked: bool
) -> None:
    names = ["test_vit2", "test_vit3"] if ranked else ["test_resnet", "test_vit2"]
    space: dict[str, Any] = {**SPACE, "search": {**SPACE["search"], "backbone": {"choice": names}}}  # type: ignore[dict-item]
    if not ranked:
        del space["backbone_ranking"]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    refused = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "search.pretrained: the pretrained weights of" in refused.stderr
    assert "test_vit2" in refused.stderr
    assert "test_resnet are" not in refused.stderr
    assert not (tmp_path / ".sweeper").exists()


@pytest.mark.usefixtures("hub")
def test_a_finished_study_needs_no_weights_any_more_and_one_with_more_trials_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space: dict[str, Any] = {**SPACE, "search": {**SPACE["search"], "backbone": "test_resnet"}}  # type: ignore[dict-item]
    del space["backbone_ranking"]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    arguments = ("run", "space.yaml", "--no-report", "--trials")
    first = sweeper(*arguments, "1", folder=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
    again = sweeper(*arguments, "1", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "study shapes: 1 of 1 trial done" in again.stdout
    for more in (["2"], ["1", "--retry-failed"]):
        refused = sweeper(*arguments, *more, folder=tmp_path)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "search.pretrained: the pretrained weights of test_resnet" in refused.stderr


@pytest.mark.usefixtures("hub")
def test_the_best_backbone_is_searched_and_the_study_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False))
    first = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "backbones: 3 are ranked by a head on the frozen features of each" in first.stdout
    assert "study shapes-backbones: 0 of 3 trials done" in first.stdout
    line = next(line for line in first.stdout.splitlines() if line.startswith("searching the best of the ranking"))
    best = line.rpartition(" ")[2]
    assert best in ("test_resnet", "test_efficientnet")  # of the third there are no weights
    assert f"ranking: the best trial uses {best}, which was ranked 1 of 2" in first.stdout
    again = sweeper("run", "space.yaml", "--no-report", "--trials", "3", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"backbones: {best}, which the study searches" in again.stdout
    assert "are ranked" not in again.stdout
    space = {**SPACE, "search": {**SPACE["search"], "label_smoothing": 0.1}}  # type: ignore[dict-item]
    (tmp_path / "wider.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    extended = sweeper("extend", "shapes", "wider.yaml", "--set", "budget.trials=4", folder=tmp_path)
    assert extended.returncode == 0, extended.stdout + extended.stderr
    assert f"backbones: {best}, which the study searches" in extended.stdout
    assert sweeper("report", "shapes", folder=tmp_path).returncode == 0
    page = (tmp_path / "reports" / "shapes.html").read_text()
    assert f"The best trial uses {best}, which was ranked 1 of 2." in page
    deleted = sweeper("delete", "shapes", folder=tmp_path)  # nobody can be asked
    assert deleted.returncode == 2
    assert "the study shapes-backbones, which ranked its backbones: sweeper delete shapes-backbones" in deleted.stdout


def test_an_extended_study_searches_a_new_backbone_and_none_that_its_ranking_has_left_out(tmp_path: Path) -> None:
    names = ["resnet18", "resnet34", "resnet50", "resnet26"]
    space = {**SPACE, "engine": "simulate", "backbone_ranking": {"keep": 2, "epochs": 2}}

    def write(backbones: list[str]) -> None:
        content = {**space, "search": {**SPACE["search"], "backbone": {"choice": backbones}}}  # type: ignore[dict-item]
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    write(names)
    first = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    line = next(line for line in first.stdout.splitlines() if line.startswith("searching the best of the ranking: "))
    gone, stays = line.partition(": ")[2].split(", ")
    write([*(name for name in names if name != gone), "resnet101"])
    refused = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "sweeper extend shapes FILE" in refused.stderr
    extended = sweeper("extend", "shapes", "space.yaml", "--set", "budget.trials=4", "--no-report", folder=tmp_path)
    assert extended.returncode == 0, extended.stdout + extended.stderr
    assert "new in the file: resnet101; searched as written, without being ranked" in extended.stdout
    assert f"backbones: {stays}, resnet101, which the study searches" in extended.stdout

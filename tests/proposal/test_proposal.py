"""The first search space: what is chosen for which images and machine, and that it runs as it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from sweeper.config.loading import load_sweep
from sweeper.config.option_labels import option_labels
from sweeper.config.space_membership import fit
from sweeper.config.sweep import SweepConfig
from sweeper.data.notes import Notes
from sweeper.errors import ModelError
from sweeper.paths import Workspace
from sweeper.processor import computes_bfloat16
from sweeper.proposal import choices
from sweeper.proposal import machine as machine_module
from sweeper.proposal.data import DataFacts, look_at_data
from sweeper.proposal.machine import MachineFacts, StageSpeed, Timer, _images_per_s, look_at_machine, stopwatch
from sweeper.proposal.recipes import Recipe, recipes
from sweeper.proposal.text import space_text, study_name
from sweeper.training.device import arithmetic
from tests.functional.program import REPOSITORY, sweeper

ROOM = 10**11
CPU = MachineFacts("cpu", gpu=False, cpu=True, cores=2, weights=(), free_memory=ROOM, free_disk=ROOM)
GPU = MachineFacts("a card", gpu=True, cpu=False, cores=16, weights=(), free_memory=ROOM, free_disk=ROOM)
LITE = "tf_efficientnet_lite0.in1k"
VALUES = 37_632
"""Bytes of what the stages of LITE before its last one give for an image of 224 pixels."""


def timed(whole: float = 100.0, last_stage: float | None = 300.0) -> Timer:
    """Return a timer that gives each network, and each last stage, the same images a second."""
    stage = None if last_stage is None else StageSpeed(last_stage, VALUES)
    return Timer(lambda *_: whole, lambda *_: stage, lambda *_: whole)


def facts(**changes: object) -> DataFacts:
    known: dict[str, object] = {
        "path": "photos",
        "train": 4000,
        "val": 1000,
        "test": 0,
        "classes": 10,
        "fewest": 390,
        "most": 410,
        "side": 300,
        "smallest_side": 200,
        "largest_side": 900,
        "grey": False,
        "drawn": None,
        "notes": Notes(),
    }
    return DataFacts(**{**known, **changes})  # type: ignore[arg-type]


def write_photos(root: Path, side: int = 40, grey: bool = False) -> Path:
    dice = np.random.default_rng(0)
    for name, count in {"cat": 40, "dog": 10}.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            shape = (side, side + number) if grey else (side, side + number, 3)
            Image.fromarray(dice.integers(0, 255, shape, dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def test_images_are_counted_and_measured(tmp_path: Path) -> None:
    seen = look_at_data(str(write_photos(tmp_path / "photos", grey=True)), Workspace(tmp_path))
    assert (seen.train + seen.val, seen.test, seen.classes) == (50, 0, 2)
    assert (seen.side, seen.smallest_side) == (40, 40)
    assert seen.grey
    assert seen.imbalance == pytest.approx(4, rel=0.2)
    assert seen.drawn is not None


@pytest.mark.parametrize(
    ("side", "machine", "chosen"), [(300, CPU, "96"), (300, GPU, "224"), (70, CPU, "64"), (20, GPU, "32")]
)
def test_the_size_follows_from_the_images_and_the_device(side: int, machine: MachineFacts, chosen: str) -> None:
    assert choices.image_size(facts(side=side), machine).value == chosen


def test_weights_that_are_here_are_used_and_no_others_are_asked_for() -> None:
    here = replace(GPU, weights=("resnet34.a1_in1k", "vit_base.x"))
    assert choices.backbones(here, lambda _: True)[0] == ("resnet34.a1_in1k",)
    assert choices.backbones(here, lambda _: True)[1].value == "true"
    large = replace(GPU, weights=("vit_small_patch16_224.x",))
    assert choices.backbones(large, lambda _: True)[0] == ("vit_small_patch16_224.x",)
    assert "layer_decay" in space_text(facts(), large, 2.0, timed())
    assert "layer_decay" not in space_text(facts(), here, 2.0, timed())
    assert choices.backbones(GPU, lambda _: True)[1].value == "false"
    others = replace(CPU, weights=("a", "b", "c", "d"))
    assert choices.backbones(others, lambda _: True)[0] == ("a", "b", "c")  # the smallest
    assert choices.backbones(others, lambda name: name == "d")[0] == ("d",)  # that take the images
    assert choices.backbones(others, lambda _: False)[1].value == "false"


def proposed(folder: Path, data: DataFacts, machine: MachineFacts, hours: float, timer: Timer) -> SweepConfig:
    file = folder / "space.yaml"
    file.write_text(space_text(data, machine, hours, timer))
    return load_sweep(file)


LARGE = facts(train=100_000, val=10_000, side=64, smallest_side=64, largest_side=64)


def test_weights_without_a_gpu_give_last_stages_on_stored_values(tmp_path: Path) -> None:
    machine = replace(CPU, weights=(LITE, "resnet18.a1_in1k"))
    space = proposed(tmp_path, LARGE, machine, 2.0, timed(300 / 12, 770))
    assert space.search.trainable == "last_stage"
    assert (space.features.last_stage, space.features.fuse) == (True, 1)
    assert space.backbone_ranking is not None
    assert (space.search.image_size, space.dataset.stored_size) == (224, 64)
    assert list(space.enqueue) == ["last_stage"]
    one = proposed(tmp_path, LARGE, replace(CPU, weights=(LITE,)), 2.0, timed(300 / 12, 770))
    assert one.backbone_ranking is None
    assert proposed(tmp_path, LARGE, replace(GPU, weights=(LITE,)), 2.0, timed(300, 770)).search.trainable == "all"
    assert proposed(tmp_path, LARGE, CPU, 2.0, timed(300, 770)).search.trainable == "all"  # no weights


def test_heads_learn_where_there_is_no_time_for_last_stages(tmp_path: Path) -> None:
    def space(hours: float, whole: float, machine: MachineFacts = CPU) -> SweepConfig:
        weights = (LITE, "resnet18.a1_in1k")
        return proposed(tmp_path, LARGE, replace(machine, weights=weights), hours, timed(whole, 100))

    heads = space(2.0, 300 / 12)
    assert heads.search.trainable == "head"
    assert (heads.features.last_stage, heads.features.fuse) == (False, 8)
    assert heads.search.image_size == 224
    assert "there is no time here to train the last stage" in (tmp_path / "space.yaml").read_text()
    assert space(1.0, 80 / 12).search.image_size == 128  # values of all images in 20 minutes
    assert space(1.0, 80 / 12, replace(CPU, cpu=False)).search.image_size == 64  # where PyTorch computes them
    assert space(0.01, 1).search.image_size == 32  # the smallest where there is time for none


def test_a_last_stage_learns_where_its_values_have_room(tmp_path: Path) -> None:
    def learns(data: DataFacts, **room: int) -> str:
        machine = replace(CPU, weights=(LITE,), **room)  # type: ignore[arg-type]
        learning: str = proposed(tmp_path, data, machine, 2.0, timed(300, 770)).search.trainable
        return learning

    data = replace(LARGE, train=10_000, val=1_000)
    values, decoded = 2 * 11_000 * VALUES, 2 * 11_000 * 3 * 64**2
    assert learns(data, free_memory=values) == "last_stage"
    assert learns(data, free_memory=values - 2) == "head"
    assert "too little memory or disk here" in (tmp_path / "space.yaml").read_text()
    assert learns(data, free_disk=values + decoded) == "last_stage"
    assert learns(data, free_disk=values + decoded - 2) == "head"


def test_only_networks_that_take_the_images_and_can_be_cut_are_proposed(tmp_path: Path) -> None:
    def whole(name: str, size: int, _: int) -> float:
        if (name == "large_only" and size < 384) or (name == "one_size" and size != 224):
            raise ModelError("takes other sizes")
        return 0.01 if name == "huge" else 25.0

    def stage(name: str, *_: int) -> StageSpeed | None:
        return None if name == "uncut" else StageSpeed(300 if name == "slow" else 600, VALUES)

    def backbones(*weights: str, hours: float = 2.0) -> tuple[str, list[str]]:
        machine = replace(CPU, weights=weights)
        space = proposed(tmp_path, facts(), machine, hours, Timer(whole, stage, whole))
        searched = space.search.backbone
        return space.search.trainable, [searched] if isinstance(searched, str) else list(searched.choice)

    assert backbones("large_only", "uncut", "one_size", "resnet18", "resnet34") == (
        "last_stage",
        ["one_size", "resnet18"],
    )
    assert backbones("uncut") == ("head", ["uncut"])
    assert "cannot be cut before their last stage" in (tmp_path / "space.yaml").read_text()
    assert backbones("one_size", "resnet18", hours=0.01) == ("head", ["resnet18"])
    assert backbones("large_only") == ("all", ["resnet10t", "resnet18"])
    assert "the networks whose weights are here do not take such images" in (tmp_path / "space.yaml").read_text()
    assert backbones("resnet18", "huge") == ("last_stage", ["resnet18"]), "one that would take all the time is left out"
    backbones("resnet18", "slow")
    assert "a last stage learns from 300 images a second here" in (tmp_path / "space.yaml").read_text()


def test_few_images_of_a_class_are_tried_with_a_head_first(tmp_path: Path) -> None:
    data = facts(train=100, val=20, classes=10, fewest=10, most=10)
    space = proposed(tmp_path, data, replace(CPU, weights=(LITE,)), 2.0, timed())
    assert option_labels(space.search.trainable.choice) == ["last_stage", "head"]
    assert list(space.enqueue) == ["head", "last_stage"]


def test_classes_of_different_sizes_are_judged_alike() -> None:
    assert choices.objective(facts(fewest=10, most=500)).value == "val/f1"
    assert choices.objective(facts()).value == "val/accuracy"


def test_more_time_gives_more_trials_or_longer_ones_and_no_more_than_fit() -> None:
    found = [choices.budget(facts(), ("a", "b"), 64, 64, hours, lambda *_: 400.0) for hours in (0.5, 2, 8, 100)]
    trained = [one.trials * one.epochs for one in found]
    assert trained == sorted(trained)
    for one in found:
        assert one.trials * one.epochs * choices.SHARE_TRAINED * 4000 / 400 * choices.OVERHEAD <= one.hours * 3600
    assert "few trials" in choices.budget(facts(), ("a",), 64, 64, 0.01, lambda *_: 400.0).why


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize(
    "data",
    [facts(), facts(train=9, val=2, side=8, drawn="a random tenth"), facts(path='a b/"x"#.csv', fewest=1, most=300)],
)
def test_what_is_written_can_be_read_and_says_why(tmp_path: Path, data: DataFacts, machine: MachineFacts) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(space_text(data, machine, 2.0, timed(100.0)))
    sweep = load_sweep(file)
    assert sweep.dataset.path == data.path
    assert sweep.study == study_name(data.path)
    assert file.read_text().count("  # ") >= 10


def test_bfloat16_is_proposed_on_a_processor_that_computes_it(tmp_path: Path) -> None:
    assert proposed(tmp_path, facts(), CPU, 2.0, timed()).precision == "auto"
    assert proposed(tmp_path, facts(), replace(CPU, precision="bfloat16"), 2.0, timed()).precision == "bfloat16"


@pytest.mark.parametrize(("command", "learns"), [(0, "all"), (0, "last_stage"), (1, "head")])
def test_the_settings_that_the_page_names_let_a_written_space_be_cross_validated(
    tmp_path: Path, command: int, learns: str
) -> None:
    machine = CPU if learns == "all" else replace(CPU, weights=(LITE,))
    timer = timed(300, None if learns == "head" else 770)
    assert proposed(tmp_path, facts(), machine, 2.0, timer).search.trainable == learns
    page = (REPOSITORY / "docs" / "data.md").read_text()
    shown = re.findall(r"^    sweeper run space.yaml --folds 5 (.*)$", page, re.MULTILINE)[command]
    settings = re.findall(r"--set (\S+)", shown)
    assert load_sweep(tmp_path / "space.yaml", ["dataset.folds=5", *settings]).dataset.folds == 5


@pytest.mark.parametrize("folder", ["2024", "2024_01", "null", "No", "1e5", "0x1F", "1.5", "_a", "-", "x" * 130, "on"])
def test_a_folder_of_any_name_gives_a_space_that_can_be_read(tmp_path: Path, folder: str) -> None:
    for machine in (CPU, replace(CPU, weights=(LITE, "resnet18.a1_in1k"))):
        assert proposed(tmp_path, facts(path=folder), machine, 2.0, timed()).study == study_name(folder)


SHAPES = st.builds(
    facts,
    train=st.integers(4, 100_000),
    val=st.integers(2, 1000),
    classes=st.integers(2, 1000),
    fewest=st.integers(1, 50),
    most=st.integers(50, 5000),
    side=st.integers(4, 500),
    largest_side=st.integers(4, 900),
    grey=st.booleans(),
)
NAMES = st.lists(
    st.sampled_from(["resnet18.a1_in1k", "resnet34.x", "efficientnet_b0.y", "vit_small_patch16_224.x", "mixnet_s"]),
    max_size=3,
    unique=True,
)


@given(SHAPES, st.booleans(), NAMES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_recipes_lie_in_the_search_space_that_they_begin(
    tmp_path: Path, data: DataFacts, gpu: bool, weights: list[str]
) -> None:
    machine = replace(GPU if gpu else CPU, weights=tuple(weights))
    file = tmp_path / "space.yaml"
    file.write_text(space_text(data, machine, 2.0, timed(100.0)))
    sweep = load_sweep(file)
    assert sweep.enqueue
    for name, given_ in sweep.enqueue.items():
        assert fit(sweep.search, given_).misfits == [], name
    file.write_text(space_text(data, machine, 2.0, timed(), most_recipes=0))
    assert load_sweep(file).enqueue == {}
    file.write_text(space_text(data, machine, 2.0, timed(), most_recipes=1))
    assert len(load_sweep(file).enqueue) == 1


def test_a_new_study_does_not_take_the_name_of_one_that_has_run() -> None:
    first = f"study: {study_name(facts().path)}"
    assert f"{first}\n" in space_text(facts(), CPU, 2.0, timed())
    name = study_name(facts().path)
    assert f"{first}-3 " in space_text(facts(), CPU, 2.0, timed(), taken=[name, f"{name}-2"])


def test_recipes_follow_from_images_and_weights() -> None:
    def chosen(backbone: str = "resnet18", pretrained: bool = True, **changes: object) -> list[Recipe]:
        return recipes(facts(**changes), backbone, 4, [16, 32, 64], pretrained)

    assert [one.name for one in chosen(pretrained=False)] == ["from_scratch"]
    assert [one.name for one in chosen()] == ["fine_tune_convnet"]
    assert [one.name for one in chosen("vit_base.x")] == ["fine_tune_transformer"]
    assert [one.name for one in chosen(fewest=5)] == ["frozen_backbone", "fine_tune_convnet"]
    assert chosen(fewest=10, most=500)[0].settings["class_balance"] == {"sampling": 0.5}
    assert chosen(grey=True)[0].settings["augment"]["flip"] is False
    assert chosen()[0].settings["test_time_augmentation"] == "flip"
    assert "test_time_augmentation" not in chosen(grey=True)[0].settings
    assert chosen(train=700)[0].settings["batch_size"] == 16
    assert chosen(train=10_000)[0].settings["batch_size"] == 64


def test_networks_are_timed_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, timed_, cpu = list[str](), machine_module._timed, torch.device("cpu")

    def noted(*of: Any) -> float:
        kinds.append(arithmetic(cpu))
        return timed_(*of)

    monkeypatch.setattr(machine_module, "_timed", noted)
    timer = stopwatch("cpu", "bfloat16")
    assert timer.whole("test_resnet", 32, 8) > 1
    assert timer.in_auto("test_resnet", 32, 8) > 1
    assert kinds == ["bfloat16", "float32"]
    stage = timer.last_stage("test_resnet", 32, 8)
    assert stage is not None
    assert stage.images_per_s > 1
    assert stage.value_bytes == 4 * 768
    assert timer.last_stage("test_vit", 160, 2) is None  # its code cannot be recorded
    machine = look_at_machine("cpu")
    assert machine.device.startswith("cpu")
    assert (machine.cpu, machine.gpu) == (True, False)
    assert machine.precision == ("bfloat16" if computes_bfloat16() else "auto")
    assert min(machine.free_memory, machine.free_disk) > 0


@pytest.mark.sweeps
def test_a_folder_of_photos_becomes_a_space_that_runs_as_it_is(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    written = sweeper("init", "photos", "--hours", "0.02", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    assert "next: sweeper run space.yaml" in written.stdout
    ran = sweeper("run", "space.yaml", "--trials", "1", "--epochs", "1", "--no-report", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    edited = (tmp_path / "space.yaml").read_text() + "# mine\n"
    (tmp_path / "space.yaml").write_text(edited)
    again = sweeper("init", "photos", folder=tmp_path)
    assert again.returncode == 2
    assert (tmp_path / "space.yaml").read_text() == edited


@pytest.mark.parametrize(
    ("arguments", "code", "rule"),
    [
        (("photos", "--device", "meta"), 2, "unknown device meta"),
        (("photos", "--hours", "0"), 2, "--hours"),
        (("nowhere",), 3, "nowhere"),
    ],
)
def test_what_cannot_be_looked_at_ends_in_a_message_and_leaves_no_file(
    tmp_path: Path, arguments: tuple[str, ...], code: int, rule: str
) -> None:
    write_photos(tmp_path / "photos")
    ended = sweeper("init", *arguments, folder=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert rule in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "space.yaml").exists()


def test_a_network_that_takes_fewer_images_at_once_than_a_batch_is_timed_on_those() -> None:
    class Greedy(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 8:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    cpu = torch.device("cpu")
    assert _images_per_s("b", Greedy(4, 3), torch.zeros(32, 4), cpu) > 0
    with pytest.raises(ModelError, match="cannot be trained on batches"):
        _images_per_s("b", nn.Linear(5, 3), torch.zeros(32, 4), cpu)

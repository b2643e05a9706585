"""A direction left over from a loss, and a metric that is 1 for everyone: refused before anything is ranked by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.answer import Ask, ask
from tests.pictures import write_split_folders

__all__ = ["ask"]  # a fixture

SPACE = """study: s
dataset: {path: d}
budget: {trials: 1, epochs: 1}
%s
search: {backbone: test_resnet, image_size: 8, batch_size: 4%s}
"""


def answered(ask: Ask, folder: Path, objective: str, search: str = "", classes: int = 3) -> str:
    write_split_folders(folder / "d", train=2, val=2, classes=tuple("abcdefgh"[:classes]))
    (folder / "space.yaml").write_text(SPACE % (objective, search))
    answer = ask("run", "space.yaml")
    assert answer.code == 2, answer
    assert not (folder / "optuna.db").exists()
    return answer.err


@pytest.mark.parametrize(
    ("metric", "given", "right"),
    [
        ("val/accuracy", "minimize", "maximize"),
        ("val/f1", "minimize", "maximize"),
        ("val/top5_accuracy", "minimize", "maximize"),
        ("val/loss", "maximize", "minimize"),
    ],
)
def test_a_direction_that_ranks_the_worst_first_is_refused_with_the_right_one(
    ask: Ask, tmp_path: Path, metric: str, given: str, right: str
) -> None:
    said = answered(ask, tmp_path, f"objective: {{metric: {metric}, direction: {given}}}")
    assert f"space.yaml:4: objective.direction: {metric} is better the" in said
    assert f"direction: {right}, which is the default; got {given}" in said


def test_of_several_objectives_each_wrong_direction_is_named(ask: Ask, tmp_path: Path) -> None:
    goals = "objectives: [val/accuracy, {metric: parameters, direction: maximize}]"
    assert "objectives[1].direction: parameters is better the lower" in answered(ask, tmp_path, goals)


def test_a_psnr_is_maximized_and_an_error_minimized(ask: Ask, tmp_path: Path) -> None:
    goal = "task: reconstruction\nobjective: {metric: val/psnr, direction: minimize}"
    assert "val/psnr is better the higher" in answered(ask, tmp_path, goal)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(
    ("objective", "search", "key"),
    [
        ("objective: {metric: val/top5_accuracy}", "", "4: objective.metric"),
        ("objectives: [val/top5_accuracy, parameters]", "", "4: objectives"),
        ("", ", scheduler: {name: reduce_on_plateau, metric: val/top5_accuracy}", "5: search.scheduler.metric"),
    ],
)
def test_a_metric_that_distinguishes_no_trials_is_refused(
    ask: Ask, tmp_path: Path, classes: int, objective: str, search: str, key: str
) -> None:
    said = answered(ask, tmp_path, objective, search, classes)
    assert f"space.yaml:{key}: val/top5_accuracy is 1 for every trial with {classes} classes" in said
    assert "use val/accuracy" in said


def test_six_classes_can_be_distinguished_by_their_five_best(ask: Ask, tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d", train=2, val=2, classes=tuple("abcdef"))
    (tmp_path / "space.yaml").write_text(SPACE % ("objective: {metric: val/top5_accuracy}", ""))
    assert ask("run", "space.yaml", "--no-report").code == 0

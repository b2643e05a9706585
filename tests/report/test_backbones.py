"""What the report says of a ranking of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.library.run import run
from sweeper.library.study import Study
from sweeper.report.backbones import backbone_ranking, whether_it_held
from sweeper.search.study_store import StudyStore
from sweeper.study.extending import extend_study
from sweeper.upkeep.deletion import delete_study

SPACE: dict[str, Any] = {
    "study": "s",
    "dataset": {"builtin": "digits"},
    "engine": "simulate",
    "budget": {"trials": 3, "epochs": 2},
    "sampler": "random",
    "pruner": "none",
    "search": {
        "backbone": {"choice": ["resnet18", "resnet34", "resnet50"]},
        "pretrained": True,
        "image_size": 32,
        "optimizer": {"name": "adamw", "lr": {"float": [0.001, 0.01]}},
    },
}


def shown(study: Study) -> dict[str, Any] | None:
    store = StudyStore.load(study.store.url, study.name)
    return backbone_ranking(store, store.rows())


@pytest.mark.sweeps
def test_a_ranking_is_shown_of_the_study_that_it_was_made_for_and_of_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = run({**SPACE, "backbone_ranking": {"keep": 2, "epochs": 2}})
    ranking = shown(study)
    assert ranking is not None
    assert [found["place"] for found in ranking["backbones"]] == [1, 2, 3]
    assert [found["searched"] for found in ranking["backbones"]] == [True, True, False]
    sweep = study.store.sweep
    search = sweep.search.model_copy(update={"label_smoothing": 0.1})
    extend_study(study.workspace, study.store.url, sweep.model_copy(update={"search": search}))
    extended = shown(study)
    assert extended is not None
    assert [found["head"] for found in extended["backbones"]] == [found["head"] for found in ranking["backbones"]]
    delete_study(study.workspace, StudyStore.load(study.store.url, "s"), None, keep_runs=False)
    assert shown(run(SPACE)) is None  # though the study s-backbones is still there


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "No trial of a ranked backbone has finished yet."),
        (["enqueued"], "The best trial uses enqueued, which was not ranked."),
        (["enqueued", "b"], "The best trial uses enqueued, which was not ranked."),
        (["b"], "The best trial uses b, which was ranked 2 of 3."),
        (
            ["a", "b"],
            "which was ranked 1 of 3. By their best trials the 2 that were searched stand in the order of the ranking.",
        ),
        (
            ["b", "a"],
            "which was ranked 2 of 3. By their best trials the 2 that were searched stand in another order: b, a.",
        ),
    ],
)
def test_a_ranking_is_compared_with_what_the_search_found(found: list[str], told: str) -> None:
    assert whether_it_held(["a", "b", "c"], found).endswith(told)

"""A look at the test split counts wherever its trial's run is: kept before anybody sees it, and counted by sync."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from sweeper.finished import evaluate
from sweeper.finished.evaluation_files import write_files
from sweeper.finished.looks import kept_looks
from sweeper.paths import EvaluationFolder
from sweeper.tracking.tags import LOOKS_TAG
from tests.field.folders import Here, runs
from tests.functional.answer import Ask, ask

__all__ = ["ask"]  # a fixture

AWAY = "http://127.0.0.1:9"


class Report(SimpleNamespace):
    """What a trial is worth, with the next accuracy each time."""

    seen: list[int]
    values: dict[str, Any]

    def write(self, files: EvaluationFolder, *, force: bool | None = False) -> list[Path]:
        about = {"model": "s", "trial": 0, "split": "test", "data": "images", "digest": "d", **self.values}
        return write_files(files, {files.scores: json.dumps(about, indent=2)}, force=force)

    def as_json(self) -> dict[str, Any]:
        self.seen.append(len(kept_looks(self.folder)))
        return self.values


@pytest.fixture
def looks_at(here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[int]]]:
    """Evaluate the trial of a study; return what is said, and how many looks were kept when the scores were shown."""
    monkeypatch.chdir(here.root)
    judged = SimpleNamespace(own=True, split="test", images=SimpleNamespace(digest="d"), named="images", remarks=())
    monkeypatch.setattr(evaluate, "images_for_trial", lambda *_, **__: judged)

    def run(accuracy: float) -> tuple[str, list[int]]:
        about = {"digest": "d", "trial": here.store.rows()[0], "model": "s", "values": {"accuracy": accuracy}}
        report = Report(**about, folder=here.folder, seen=[])
        monkeypatch.setattr(evaluate, "evaluate_on", lambda *_, **__: report)
        answer = ask("evaluate", "s/0", "--json", "--force", "--tracking-uri", here.tracking)
        assert answer.code == 0, answer.err
        return answer.err, report.seen

    return run


def test_looks_at_a_trial_that_is_not_in_mlflow_are_counted_by_sync(
    here: Here, ask: Ask, looks_at: Callable[..., tuple[str, list[int]]], tmp_path: Path
) -> None:
    here.run(1, tracking=AWAY)
    for number, accuracy in enumerate((0.5, 0.75), 1):
        said, kept = looks_at(accuracy)
        assert kept == [number]
        assert (
            "this look at the test split is kept here; `sweeper sync s` counts it in MLflow: trial 0 of s has" in said
        )
    assert ask("sync", "s", "--tracking-uri", here.tracking).code == 0
    run = runs(here.tracking)["trial-0000"]
    assert run.data.tags[LOOKS_TAG] == "2"
    client = mlflow.MlflowClient(here.tracking)
    accuracies = client.get_metric_history(run.info.run_id, "test/accuracy")
    assert sorted(point.value for point in accuracies) == [0.5, 0.75]
    sent = client.download_artifacts(run.info.run_id, "test/scores.json", str(tmp_path))
    assert "0.75" in Path(sent).read_text()
    assert not here.folder.looks.exists()


def test_a_look_at_a_trial_that_is_in_mlflow_is_counted_at_once(
    here: Here, looks_at: Callable[..., tuple[str, list[int]]]
) -> None:
    here.run(1)
    for number, accuracy in ((1, 0.5), (2, math.nan)):
        said, kept = looks_at(accuracy)
        assert kept == [1]
        assert f"looks at a test split so far: {number}" in said
    assert not list(here.folder.path.glob("looks*"))


def test_looks_that_cannot_be_read_are_told_and_removed(here: Here) -> None:
    here.run(1)
    here.folder.looks.write_text("[")
    assert any("looks.json is damaged" in what for what in here.wrong())
    here.wrong(fix=True)
    assert here.wrong() == []

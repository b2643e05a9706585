"""What a message recommends helps: the command that it names does what is missing."""

from __future__ import annotations

import shlex
from pathlib import Path

import mlflow
import pytest

from sweeper.errors import StudyError
from sweeper.upkeep.disk import disk_use
from sweeper.upkeep.sync import sync_study
from tests.field.folders import Here, runs
from tests.functional.answer import Ask, ask
from tests.pictures import write_split_folders

__all__ = ["ask"]  # a fixture


def test_a_trial_that_waits_on_disk_is_brought_to_mlflow_by_sync(here: Here, tmp_path: Path) -> None:
    assert here.run(1, tracking="http://127.0.0.1:9").undelivered > 0
    (here.folder.trial(0).weights_of(1)).rename(tmp_path / "weights")  # so that they are looked for in MLflow
    here.folder.trial(0).weights.rmdir()
    with pytest.raises(StudyError, match=r"trial 0 of s has no MLflow run at sqlite:.*: sweeper sync s$"):
        here.weights_of(0, tmp_path / "fetched", here.tracking)
    assert sync_study(here.workspace, here.storage, "s", here.tracking) == 1
    assert "trial-0000" in runs(here.tracking)


def test_a_trial_whose_run_was_deleted_is_a_matter_for_the_doctor(here: Here, tmp_path: Path) -> None:
    here.run(2)
    mlflow.MlflowClient(here.tracking).delete_run(runs(here.tracking)["trial-0001"].info.run_id)
    with pytest.raises(StudyError, match=r"trial 1 of s has no MLflow run at sqlite:.*: sweeper doctor s --fix$"):
        here.weights_of(1, tmp_path / "fetched")
    assert here.wrong() == ["trial 1 has no run"]
    assert here.wrong(fix=True) == []
    assert "trial-0001" in runs(here.tracking)


def test_nothing_counts_as_unfinished_or_undelivered_once_a_study_has_ended_and_arrived(here: Here) -> None:
    assert here.run(1, tracking="http://127.0.0.1:9").undelivered > 0
    assert disk_use(here.workspace).trials > 0
    sync_study(here.workspace, here.storage, "s", here.tracking)
    assert disk_use(here.workspace).trials == 0


def test_what_comes_next_after_a_run_finds_the_study_in_a_storage_that_was_named(ask: Ask, tmp_path: Path) -> None:
    write_split_folders(tmp_path / "d")
    (tmp_path / "space.yaml").write_text(
        "study: s\ndataset: {path: d}\nbudget: {trials: 1, epochs: 1}\n"
        "search: {backbone: test_resnet, image_size: 8, batch_size: 4}\n"
    )
    said = ask("run", "space.yaml", "--no-report", "--storage", "sqlite:///other.db").out
    (line,) = [line for line in said.splitlines() if line.startswith("next: ")]
    status, best = line.removeprefix("next: ").split("   ")
    assert ask(*shlex.split(status)[1:]).code == 0
    assert ask(*[word for word in shlex.split(best)[1:] if word != "--export"]).code == 0
    assert best == "sweeper best s --export --storage sqlite:///other.db"

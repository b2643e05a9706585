"""`sweeper train --from`: a trial goes on with balance and augmentation, and then without, as a user does it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch  # noqa: F401  # names are then checked in this process
import yaml

from sweeper.cli import main
from sweeper.search.study_store import StudyStore
from tests.functional.program import environment, sweeper
from tests.pictures import write_class_folders

pytestmark = pytest.mark.sweeps

SPACE = """
study: tiny
dataset: {path: images}
budget: {trials: 1, epochs: 3}
pruner: none
device: cpu
keep_optimizer: true
search:
  backbone: test_resnet
  image_size: 8
  batch_size: 8
  optimizer: {name: adam, lr: 1e-3}
"""
COUNTS = {"train/cat": 24, "train/dog": 6, "val/cat": 4, "val/dog": 4}
BALANCED = (
    *("train", "--from", "tiny/best", "--epochs", "20", "--set", "study=balanced"),
    *("--set", "search.class_balance.sampling=1", "--set", "search.augment={flip: true, crop_padding: 1}"),
)


def killed_after_an_epoch(folder: Path, *arguments: str) -> str:
    """Run `sweeper ARGUMENTS`, kill it with its workers after the first epoch it reports; return what it said."""
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "sweeper", *arguments]
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while " epoch 4/" not in (said := (folder / "log").read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, said
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, a continuation of it that was killed and run again, and a continuation of that."""
    folder = tmp_path_factory.mktemp("work")
    write_class_folders(folder / "images", COUNTS)
    (folder / "space.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        sweeper_here(patch, "run", "space.yaml")
        assert "balanced goes on from tiny/0" in killed_after_an_epoch(folder, *BALANCED)
        sweeper_here(patch, *BALANCED)
        run = runs(folder, "balanced")["trial-0000"].info.run_id
        plain = ("--with-optimizer", "--epochs", "2", "--set", "search.augment={}", "--set", "study=plain")
        sweeper_here(patch, "train", "--from", run, *plain)
    return folder


def sweeper_here(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run `sweeper ARGUMENTS` in this process; the trial still has its worker."""
    patch.setattr(sys, "argv", ["sweeper", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def runs(folder: Path, study: str) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def curve(folder: Path, study: str, trial: str = "trial-0000") -> list[tuple[int, float]]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run = runs(folder, study)[trial].info.run_id
    return sorted((point.step, point.value) for point in client.get_metric_history(run, "val/loss"))


def test_the_curves_of_source_and_continuations_are_one(folder: Path) -> None:
    source, balanced, plain = (curve(folder, study) for study in ("tiny", "balanced", "plain"))
    assert [step for step, _ in plain] == list(range(1, 26))
    assert plain[:23] == balanced
    assert balanced[:3] == source


def test_every_run_says_where_it_comes_from_and_what_was_set(folder: Path) -> None:
    source, balanced = (runs(folder, study)["trial-0000"] for study in ("tiny", "balanced"))
    tags, params = balanced.data.tags, balanced.data.params
    assert tags["sweeper.source_run"] == source.info.run_id
    assert (tags["sweeper.source_trial"], tags["sweeper.source_state"]) == ("tiny/0", "weights")
    assert f"/runs/{source.info.run_id}" in tags["mlflow.note.content"]
    assert (params["class_balance.sampling"], params["augment.flip"]) == ("1.0", "True")
    plain = runs(folder, "plain")["trial-0000"]
    assert plain.data.tags["sweeper.source_trial"] == "balanced/0"
    assert plain.data.tags["sweeper.source_state"] == "weights and optimizer"
    assert plain.data.params["augment.flip"] == "False"
    assert {run.info.status for study in ("tiny", "balanced", "plain") for run in runs(folder, study).values()} == {
        "FINISHED"
    }


def test_a_continuation_that_is_run_again_for_more_trials_still_goes_on_from_its_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second trial of seed 0 differs from the first by its seed alone; both begin with the source's weights."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    again = ("train", "--from", "tiny/best", "--epochs", "1", "--set", "study=again")
    sweeper_here(monkeypatch, *again, "--set", "search.optimizer.lr=1e-7")
    sweep = StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", "again").sweep.model_dump(mode="json", by_alias=True)
    sweep["budget"]["trials"] = 2
    (folder / "again.yaml").write_text(yaml.safe_dump(sweep))
    sweeper_here(monkeypatch, "run", "again.yaml")
    first, second = (curve(folder, "again", trial) for trial in ("trial-0000", "trial-0001"))
    assert [step for step, _ in second] == [step for step, _ in first] == [1, 2, 3, 4]
    assert second[-1][1] == pytest.approx(first[-1][1], rel=0.01)


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `sweeper train` in this process and in that folder; return the exit code and the message."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["sweeper", "train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("tiny/first", "STUDY/NUMBER, or the id of an MLflow run, got 'tiny/first'"),
        ("tiny/7", "tiny has no trial 7"),
        ("tinny/best", "no study is called tinny; the studies are"),
        ("0" * 32, f"has no run {'0' * 32}"),
    ],
)
def test_a_source_that_is_not_there_ends_with_its_exit_code_and_what_there_is(
    refused: Any, source: str, rule: str
) -> None:
    code, message = refused("--from", source)
    assert code == 4
    assert rule.lower() in message.lower()


def test_a_continuation_is_not_run_under_the_name_of_another_study(refused: Any, folder: Path) -> None:
    code, message = refused("--from", "balanced/best", "--set", "study=tiny")
    assert code == 4
    assert "there is a study tiny, and it does not go on from a trial" in message
    assert not (folder / ".sweeper" / "studies" / "tiny" / "start").exists()
    code, message = refused("--from", "plain/best", "--set", "study=balanced")
    assert code == 4
    assert "balanced goes on from tiny/0, not from plain/0" in message


def test_a_mistake_in_an_override_ends_with_exit_code_2(refused: Any) -> None:
    for override, told in (("search.batch_siz=3", "batch_size"), ("search.backbone=resnet5O", "resnet50")):
        code, message = refused("--from", "tiny/0", "--set", override)
        assert code == 2
        assert f"did you mean {told}" in message


def test_a_split_that_the_source_has_learned_from_is_refused(folder: Path) -> None:
    write_class_folders(folder / "undivided", {"cat": 24, "dog": 12})
    whole = ("--set", "study=whole", "--set", "dataset={path: undivided, val_fraction: 0.25}", "--epochs", "1")
    ran = sweeper("run", "space.yaml", *whole, "--no-report", folder=folder)
    assert ran.returncode == 0, ran.stderr
    command = ("train", "--from", "whole/best", "--epochs", "1", "--set", "study=leaking")
    refused = sweeper(*command, "--set", "dataset.split_seed=1", folder=folder)
    assert refused.returncode == 2, refused.stdout
    assert re.search(r"dataset: whole was trained on \d+ of the 9 val images", refused.stderr), refused.stderr
    goes_on = sweeper(*command, folder=folder)
    assert goes_on.returncode == 0, goes_on.stderr
    assert "have changed" not in goes_on.stdout

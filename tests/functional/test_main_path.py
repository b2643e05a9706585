"""From a search space to a ranked table, MLflow runs and a checked export: the program as a user runs it."""

from __future__ import annotations

import base64
import getpass
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import mlflow
import optuna
import pytest

from sweeper.display.answers import BestAnswer, StatusAnswer, StudiesAnswer
from sweeper.scores.predictions import read_predictions
from tests.functional.program import REPOSITORY, sweeper
from tests.pictures import write_split_folders

SPACE = """
study: tiny
dataset: {path: images}
budget: {trials: 4, epochs: 3}
pruner: {name: median, startup_trials: 1}
device: cpu
search:
  backbone: test_resnet
  image_size: 8
  batch_size: {choice: [4, 8]}
  optimizer: {choice: [{name: sgd, lr: {float: [0.01, 0.1], log: true}}, {name: adam, lr: 1e-3}]}
  scheduler: {name: reduce_on_plateau, patience: {int: [0, 2]}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study `tiny` has been run."""
    folder = tmp_path_factory.mktemp("work")
    write_split_folders(folder / "images", train=8, val=6)
    (folder / "space.yaml").write_text(SPACE)
    done = sweeper("run", "space.yaml", folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "4 of 4 trials done" in done.stdout
    assert "rank" in done.stdout
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_there_is_one_parent_run_and_one_child_for_each_trial(runs: dict[str, Any]) -> None:
    assert sorted(runs) == ["tiny", "trial-0000", "trial-0001", "trial-0002", "trial-0003"]
    children = [run for name, run in runs.items() if name != "tiny"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {runs["tiny"].info.run_id}
    assert "RUNNING" not in {run.info.status for run in runs.values()}


def test_the_folder_of_a_delivered_trial_is_gone(folder: Path) -> None:
    assert list((folder / ".sweeper" / "studies" / "tiny").glob("trial-*")) == []


def test_the_parent_run_holds_the_report_and_says_where_things_are(folder: Path, runs: dict[str, Any]) -> None:
    parent = runs["tiny"]
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "report")] == ["report/tiny.html"]
    assert "default-src 'none'" in (folder / "reports" / "tiny.html").read_text()
    best = int(parent.data.tags["sweeper.best_trial"])
    assert f"trial-{best:04d}" in parent.data.tags["mlflow.note.content"]
    assert "report/tiny.html" in parent.data.tags["mlflow.note.content"]


def test_every_trial_keeps_predictions_that_agree_with_its_logged_accuracy(folder: Path, runs: dict[str, Any]) -> None:
    for name, run in runs.items():
        if name == "tiny":
            continue
        (kept,) = (folder / "mlruns" / "tiny" / run.info.run_id / "artifacts" / "predictions").iterdir()
        assert read_predictions(kept).right.mean() == pytest.approx(run.data.metrics["best/val/accuracy"])


def test_the_same_command_again_has_nothing_left_to_do(folder: Path, runs: dict[str, Any]) -> None:
    again = sweeper("run", "space.yaml", folder=folder)
    assert again.returncode == 0
    assert "started" not in again.stdout
    (address,) = re.findall(r"http://127\.0\.0\.1:5000\S+", again.stdout)
    view = {key: values[0] for key, values in parse_qs(address.partition("?")[2]).items()}
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    stored = client.get_experiment("1").tags[f"mlflow.sharedViewState.{view['viewStateShareKey']}"]
    shown = json.loads(zlib.decompress(base64.b64decode(stored.removeprefix("deflate;"))))
    order = "ASC" if shown["orderByAsc"] else "DESC"
    found = client.search_runs(["1"], shown["searchFilter"], order_by=[f"{shown['orderByKey']} {order}"])
    scores = [run.data.metrics["best/val/accuracy"] for run in found]
    assert len(found) == len(runs) - 1
    assert scores == sorted(scores, reverse=True)


def test_runs_say_who_made_them_and_are_found_by_their_state(folder: Path, runs: dict[str, Any]) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs(["1"], "tags.sweeper.state = 'complete'")
    assert {run.info.run_name for run in found} == {
        name for name, run in runs.items() if name != "tiny" and run.info.status == "FINISHED"
    }
    for run in found:
        assert run.data.tags["mlflow.user"] == getpass.getuser()
        assert run.data.tags["mlflow.source.name"] == "sweeper"
        assert run.data.tags["mlflow.note.content"].startswith("**complete**, ")
        assert run.data.tags["mlflow.loggedImages"] == "True"
        assert len(client.list_artifacts(run.info.run_id, "images")) == 2


def test_other_programs_read_from_the_storage_what_the_values_are_and_where_the_records_are(
    folder: Path, runs: dict[str, Any]
) -> None:
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder / 'optuna.db'}")
    assert study.metric_names == ["val/accuracy"]
    by_sgd = [trial for trial in study.trials if "optimizer.sgd.lr" in trial.params]
    assert by_sgd
    assert all(trial.user_attrs["optimizer.lr"] == trial.params["optimizer.sgd.lr"] for trial in by_sgd)
    for trial in study.trials:
        run = runs[f"trial-{trial.number:04d}"]
        assert trial.user_attrs["best epoch"] == run.data.metrics["best/epoch"]
        assert trial.user_attrs["MLflow run"] == run.info.run_name
        assert trial.user_attrs.get("MLflow run id", run.info.run_id) == run.info.run_id


def test_status_lists_every_trial(folder: Path) -> None:
    shown = sweeper("status", folder=folder)
    assert "4 of 4 trials ended" in shown.stdout
    assert shown.stdout.count("complete") + shown.stdout.count("pruned") == 4


def test_the_winner_is_exported_and_every_format_gives_the_logged_accuracy(folder: Path, runs: dict[str, Any]) -> None:
    done = sweeper("best", "tiny", "--export", "--fp16", "--ensemble", "--tolerance", "1", folder=folder)
    assert done.returncode == 0, done.stderr
    served = "mlflow models serve -m models:/tiny@best --env-manager local -p 5001"
    assert f"registered as version 1 of tiny: {served}" in done.stdout
    assert "ensemble" in done.stdout
    export = folder / "exports" / "tiny"
    names = {"README.md", "config.json", "label.py", "picture", "model.fp16.onnx", "model.onnx"}
    names |= {"model.pt2", "model.safetensors", "verification.json"}
    assert {path.name for path in export.iterdir()} == names
    trial = json.loads((export / "config.json").read_text())["lineage"]["trial"]
    logged = runs[f"trial-{trial:04d}"].data.metrics["best/val/accuracy"]
    best = max(
        run.data.metrics["best/val/accuracy"]
        for name, run in runs.items()
        if run.info.status == "FINISHED" and name != "tiny"
    )
    assert logged == best
    assert json.loads((export / "verification.json").read_text())["weights"]["accuracy"] == logged


@pytest.mark.sweeps
def test_a_larger_budget_continues_the_study(folder: Path) -> None:
    more = sweeper("run", "space.yaml", "--set", "budget.trials=5", folder=folder)
    assert more.returncode == 0, more.stderr
    assert "trial 4 started" in more.stdout
    assert "trial 3 started" not in more.stdout


@pytest.mark.sweeps
def test_another_search_space_under_the_same_name_is_refused(folder: Path) -> None:
    refused = sweeper("run", "space.yaml", "--set", "search.batch_size=2", folder=folder)
    assert refused.returncode == 4
    assert "search" in refused.stderr
    assert "study:" in refused.stderr


def test_a_mistake_ends_with_exit_code_2_and_creates_nothing(tmp_path: Path) -> None:
    for wrong, told in (
        (SPACE.replace("epochs: 3", "epochs: 0"), "space.yaml:4: budget.epochs"),
        (SPACE.replace("test_resnet", "resnet5O"), "did you mean resnet50"),
    ):
        (tmp_path / "space.yaml").write_text(wrong)
        refused = sweeper("run", "space.yaml", folder=tmp_path)
        assert refused.returncode == 2
        assert told in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_bad_images_stop_the_run_before_any_trial(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "images")
    (tmp_path / "images" / "train" / "cat" / "0000.png").write_bytes(b"no image")
    (tmp_path / "space.yaml").write_text(SPACE)
    refused = sweeper("run", "space.yaml", folder=tmp_path)
    assert refused.returncode == 3
    assert "train/cat/0000.png" in refused.stderr
    assert not (tmp_path / "optuna.db").exists()


@pytest.mark.sweeps
def test_trials_of_two_workers_are_all_recorded_once(tmp_path: Path) -> None:
    write_split_folders(tmp_path / "images")
    (tmp_path / "space.yaml").write_text(SPACE)
    done = sweeper("run", "space.yaml", "--workers", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials done" in done.stdout


def test_help_answers_without_importing_what_is_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from sweeper.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print(sorted({'torch', 'mlflow', 'optuna', 'timm', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.sweeps
def test_scripts_read_studies_trials_and_the_best_one(folder: Path) -> None:
    listed = sweeper("list", "--json", folder=folder)
    studies = StudiesAnswer.model_validate_json(listed.stdout).studies
    (study,) = (study for study in studies if study.study == "tiny")
    assert (study.state, study.ended) == ("finished", study.budget)
    status = StatusAnswer.model_validate_json(sweeper("status", "tiny", "--json", folder=folder).stdout)
    assert [trial.number for trial in status.trials] == list(range(study.budget))
    best = BestAnswer.model_validate_json(sweeper("best", "tiny/best", "--json", folder=folder).stdout)
    assert study.best == best.trial == status.trials[best.trial.number]
    assert best.trial.value == max(trial.value for trial in status.trials if trial.value is not None)
    assert best.winner
    assert best.config["image_size"] == 8
    named = BestAnswer.model_validate_json(
        sweeper("best", f"tiny/{(best.trial.number + 1) % 4}", "--json", folder=folder).stdout
    )
    assert not named.winner


def test_an_answer_in_json_is_alone_on_standard_output_also_beside_an_export(folder: Path) -> None:
    done = sweeper("best", "tiny/best", "--export", "--to", "model", "--json", folder=folder)
    answer = BestAnswer.model_validate_json(done.stdout)
    assert answer.export == "model"
    assert (folder / "model/verification.json").exists()
    assert "trial" in done.stderr


@pytest.mark.sweeps
def test_the_shorthands_of_run_are_overrides(folder: Path) -> None:
    done = sweeper(
        "run", "space.yaml", "--set", "study=short", "--trials", "1", "--epochs", "2", "--device", "cpu", folder=folder
    )
    assert done.returncode == 0, done.stderr
    assert "1 trial of up to 2 epochs" in done.stdout
    assert "study short: 1 complete" in done.stdout
    listed = [row.split()[0] for row in sweeper("list", folder=folder).stdout.splitlines() if "finished" in row]
    assert listed[0] == "short"
    assert "tiny" in listed


def test_every_command_explains_itself_by_h_too() -> None:
    for command in ((), ("run",), ("data", "check")):
        assert "Usage: " in sweeper(*command, "-h", folder=REPOSITORY).stdout

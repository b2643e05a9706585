"""From a finished study to a winner that is one: `confirm`, `best` and `reproduce` on real trainings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.commands.studies import open_study, winner_of
from sweeper.errors import ConfigError, StudyChanged, SweeperError
from sweeper.paths import Workspace
from sweeper.seal import without_seal
from tests.functional.program import environment
from tests.functional.test_using_models import write_blots

pytestmark = pytest.mark.sweeps

SPACE = """
study: blots
dataset: {path: images}
budget: {trials: 2, epochs: 2}
pruner: none
device: cpu
search: {backbone: test_resnet, image_size: 8, batch_size: 8, weight_decay: {choice: [0.0, 0.01, 0.02]}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the study `blots` has been run; commands run in it."""
    folder, before = tmp_path_factory.mktemp("work"), Path.cwd()
    splits = {"train": 12, "val": 8, "test": 8}
    write_blots(folder / "images", {f"{split}/{side}": n for split, n in splits.items() for side in ("left", "right")})
    (folder / "space.yaml").write_text(SPACE)
    os.chdir(folder)
    command("run", "space.yaml")
    yield folder
    os.chdir(before)


def command(*arguments: str, code: int = 0) -> str:
    """Run `sweeper ARGUMENTS` in this process and return what it prints."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def runs(folder: Path) -> dict[str, Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("blots")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


REPETITIONS = {f"confirm-{trial:04d}-seed-{seed}" for trial in (0, 1) for seed in (1, 2)}


def test_a_trial_is_reproduced_to_the_last_digit_from_its_run_alone(folder: Path) -> None:
    (folder / "optuna.db").rename(folder / "away.db")
    try:
        shown = command("reproduce", "blots/1")
    finally:
        (folder / "away.db").rename(folder / "optuna.db")
    assert "trial-0001 is reproduced: 8 metrics are the same to the last digit in all 2 epochs" in shown
    assert list((folder / ".sweeper").glob("reproduce-*")) == []


@dataclass(frozen=True)
class Confirmation:
    """A confirmation of `blots` that was killed and begun again: what its ledger had before and has now."""

    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    shown: str


@pytest.fixture(scope="module")
def confirmation(folder: Path) -> Confirmation:
    arguments = [sys.executable, "-m", "sweeper", "confirm", "--top", "2", "--seeds", "2"]
    killed = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    ledger = folder / ".sweeper/studies/blots/confirmation/repetitions.json"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (ledger.exists() and '"complete"' in ledger.read_text()):
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = [one for one in json.loads(without_seal(ledger.read_bytes())) if one["outcome"]]
    shown = command("confirm", "--top", "2", "--seeds", "2", "--workers", "2")
    return Confirmation(before, json.loads(without_seal(ledger.read_bytes())), shown)


def test_a_confirmation_killed_on_the_way_goes_on_and_trains_nothing_twice(confirmation: Confirmation) -> None:
    assert confirmation.before
    assert "4 of 4 repetitions done" in confirmation.shown
    numbers = {one["number"] for one in confirmation.before}
    assert [one for one in confirmation.after if one["number"] in numbers] == confirmation.before
    assert "test split, trial" in confirmation.shown


@pytest.mark.usefixtures("confirmation")
def test_every_repetition_is_one_run_below_the_study_and_none_is_taken_for_a_trial(folder: Path) -> None:
    found = runs(folder)
    assert set(found) == {"blots", "trial-0000", "trial-0001", "blots-confirmation", *REPETITIONS}
    below = found["blots-confirmation"].info.run_id
    assert found["blots-confirmation"].data.tags["mlflow.parentRunId"] == found["blots"].info.run_id
    assert {found[name].data.tags["mlflow.parentRunId"] for name in REPETITIONS} == {below}
    assert {found[name].info.status for name in REPETITIONS} == {"FINISHED"}
    assert len({found[name].data.params["seed"] for name in [*REPETITIONS, "trial-0000", "trial-0001"]}) == 6
    assert "agree" in command("doctor", code=0).splitlines()[-2]
    assert not list((folder / ".sweeper/studies/blots/confirmation").glob("trial-*"))


@pytest.mark.usefixtures("confirmation")
def test_the_test_split_is_measured_once_and_again_only_when_asked_for(folder: Path) -> None:
    def count() -> int:
        return sum(int(run.data.tags.get("sweeper.test_looks", 0)) for run in runs(folder).values())

    (look,) = json.loads(without_seal((folder / ".sweeper/studies/blots/confirmation/test.json").read_bytes()))
    assert look["recorded"]
    assert count() == 1
    again = command("confirm", "--top", "2", "--seeds", "2")
    assert f"accuracy {look['metrics']['accuracy']:.4f}" in again
    assert count() == 1
    assert "--look-again" in command("confirm", "--top", "2", "--seeds", "2", "--look-again")
    assert count() == 2
    assert [
        one["forced"]
        for one in json.loads(without_seal((folder / ".sweeper/studies/blots/confirmation/test.json").read_bytes()))
    ] == [False, True]


def test_best_prefers_the_confirmed_winner_and_says_how_sure_it_is(confirmation: Confirmation) -> None:
    means = {
        trial: sum(one["outcome"]["best_value"] for one in confirmation.after if one["repeats"]["trial"] == trial) / 2
        for trial in (0, 1)
    }
    shown = " ".join(command("best").split())
    confirmed = max(means, key=lambda trial: (means[trial], -trial))
    assert f"trial {confirmed} is confirmed: val/accuracy {means[confirmed]:.4f}" in shown
    assert "between trial" in shown
    command("report", "blots", "--no-log")
    assert f"2 fresh seeds, trial {confirmed} is best, with a mean of" in Path("reports/blots.html").read_text()


@pytest.mark.usefixtures("confirmation")
def test_a_run_whose_metrics_do_not_come_out_again_is_reported_with_them_and_exit_code_1(folder: Path) -> None:
    logged = runs(folder)["confirm-0001-seed-2"]  # two runs below the one that has the search space
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    client.log_metric(logged.info.run_id, "val/loss", 0.123, step=2, timestamp=2**41)
    shown = command("reproduce", logged.info.run_id, code=1)
    assert "is not reproduced: 1 of 8 metrics differ" in shown
    assert "val/loss" in shown


def test_several_objectives_are_measured_ranked_and_chosen_from_after_a_warm_start(folder: Path) -> None:
    several = SPACE.replace("study: blots", "study: several\nobjectives: [val/accuracy, parameters, latency_ms]")
    several = several.replace("pruner: none", "enqueue: {mine: {weight_decay: 0.02}}")
    (folder / "several.yaml").write_text(several.replace("trials: 2, epochs: 2", "trials: 3, epochs: 1"))
    shown = command("run", "several.yaml", "--warm-start-from", "blots")
    assert "if several is new, it first tries the 2 best trials of blots" in shown
    assert "parameters" in shown
    assert "*" in shown
    store = open_study(Workspace(folder), None, "several")
    earlier = {row.params["weight_decay"] for row in open_study(Workspace(folder), None, "blots").rows()}
    decays = [row.params["weight_decay"] for row in store.rows()]
    assert decays[0] == 0.02
    assert set(decays[1:]) == earlier
    costs = [row.outcome.costs for row in store.rows() if row.outcome]
    assert len({cost["parameters"] for cost in costs}) == 1
    assert all(cost["latency_ms"] > 0 for cost in costs)
    fastest = min(store.rows(), key=lambda row: row.outcome.costs["latency_ms"] if row.outcome else 0)
    assert f"trial {fastest.number} is best" in command("best", "several", "--prefer", "latency_ms")


def test_an_edited_search_space_continues_with_the_trials_that_fit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(folder)
    before = open_study(Workspace(folder), None, "blots").rows()
    wider = SPACE.replace("trials: 2", "trials: 3").replace("{choice: [0.0, 0.01, 0.02]}", "{float: [0.0, 0.05]}")
    (folder / "wider.yaml").write_text(wider.replace("test_resnet", "{choice: [test_resnet, test_vit]}"))
    with pytest.raises(StudyChanged, match="sweeper extend blots FILE"):
        command("run", "wider.yaml")
    shown = command("extend", "blots", "wider.yaml")
    assert "2 trials carried over, 0 kept as history; the study as it was: blots~1" in shown
    rows = open_study(Workspace(folder), None, "blots").rows()
    assert [(row.number, row.value, row.config) for row in rows[:2]] == [
        (row.number, row.value, row.config) for row in before
    ]
    assert len(rows) == 3
    assert "has not changed; the study goes on" in command("extend", "blots", "wider.yaml")
    assert "float" in (folder / ".sweeper/studies/blots/sweep/artifacts/search_space.yaml").read_text()


def test_every_command_about_a_trial_takes_every_form_of_its_name(folder: Path) -> None:
    workspace = Workspace(folder)
    store = open_study(workspace, None, "blots")
    best = winner_of(store).number
    other = 1 - best
    client = mlflow.MlflowClient(f"sqlite:///{workspace.mlflow_database}")  # the default stays that of other tests
    experiment = client.get_experiment_by_name("blots")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`sweeper.trial` = '{best}'")
    for name in ("blots", "blots/best", f"blots/{best}", run.info.run_id):
        assert f"trial {best} is best" in command("best", name)
        assert f"blots/{best}: 16 val images" in command("evaluate", name, "--split", "val")
        assert f"A: blots/{best}" in command("diff", name, f"blots/{other}")
    for name in ("blots/best", f"blots/{best}", run.info.run_id):
        assert "the same to the last digit" in command("reproduce", name)
        study = f"on-{name[-4:].replace('/', '-')}"
        assert f"goes on from blots/{best}" in command(
            "train", "--from", name, "--epochs", "1", "--set", f"study={study}"
        )
    assert f"trial {other}, val/accuracy" in command("best", "blots", "--trial", str(other))
    told = command("best", f"blots/{other}", "--export")
    assert f"trial {other}, val/accuracy" in told
    assert f"the best is trial {best}" in told
    assert f"not registered, since it is not the best trial; to register it anyway: sweeper register {folder}" in (
        told.replace("\n", "")
    )
    for given, rule in (
        (("best", f"blots/{other}", "--prefer", "parameters"), f"--prefer: chooses .*blots/{other} names one"),
        (("best", f"blots/{best}", "--prefer", "parameters"), f"--prefer: chooses .*blots/{best} names one"),
        (("best", "blots", "--within", "0.1"), "--within: limits what --prefer may choose"),
        (("best", "blots/1", "--trial", "1"), "--trial: is a number in a study, .*; got blots/1"),
        (("best", "--trial", "1"), "--trial: is a number in a study, .*; got no study"),
    ):
        with pytest.raises(ConfigError, match=rule):
            command(*given)
    assert "1 image labelled" in command("predict", f"blots/{other}", str(next(folder.glob("images/val/left/*"))))
    for name in ("blots/7", "blots/best/1"):
        for words in (("best", name), ("evaluate", name), ("diff", name, "blots"), ("reproduce", name)):
            with pytest.raises(SweeperError):
                command(*words)


def test_every_command_refuses_other_images_in_the_same_words_and_names_a_way_on(folder: Path) -> None:
    changed = next((folder / "images/val/left").glob("*"))
    before = changed.read_bytes()
    run = runs(folder)["trial-0000"].info.run_id
    commands = {
        "another name": ["run", "space.yaml"],
        "--data": ["evaluate", "blots/0"],
        "a new study": ["best", "blots", "--to", "elsewhere"],
        "the folder that holds them": ["reproduce", run],
    }
    shutil.copyfile(next((folder / "images/val/right").glob("*")), changed)
    try:
        for way, arguments in commands.items():
            with pytest.raises(
                StudyChanged, match=rf"^the images of images have changed since .*bring .*{way}"
            ) as refused:
                command(*arguments)
            assert "results on other images cannot be compared" in str(refused.value)
            assert refused.value.exit_code == 4
    finally:
        changed.write_bytes(before)


def test_a_difference_on_other_images_says_what_was_trained_on_and_reads_labels_alike(folder: Path) -> None:
    write_blots(folder / "others", {"LEFT": 6, "right ": 6})
    shutil.copyfile(next((folder / "images/train/left").glob("*")), folder / "others/LEFT/seen.png")
    command("best", "blots", "--export", "--to", "out-of-blots", "--no-register")
    with pytest.raises(SweeperError):  # LEFT is no class of the model
        command("diff", "blots/0", "out-of-blots", "--data", "others")
    shown = command("diff", "blots/0", "out-of-blots", "--data", "others", "--labels", "normalize")
    for side in ("A", "B"):
        assert f"{side}: the model was trained on some of these images" in shown
    with pytest.raises(ConfigError, match="--data, which is missing"):
        command("diff", "blots/0", "blots/1", "--labels", "normalize")

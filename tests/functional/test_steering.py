"""Steering from another terminal: the real program, paused, told what to try, and stopped."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sweeper.results import TrialState
from sweeper.search.study_store import StudyStore
from tests.functional.program import environment, sweeper

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "s",
    "dataset": {"builtin": "digits", "limit": {"train_images": 300, "val_images": 60}},
    "budget": {"trials": 500, "epochs": 4},
    "pruner": "none",
    "search": {
        "backbone": "test_resnet",
        "image_size": 16,
        "optimizer": {"name": "adamw", "lr": {"float": [1e-3, 1e-2]}},
    },
}
PATIENCE_S = 120


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    command = [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report"]
    log = (tmp_path / "log.txt").open("w")
    with log, subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log, text=True) as process:
        wait_for(tmp_path, "trial 1 started")
        yield process
        process.kill()


def wait_for(folder: Path, line: str, times: int = 1) -> str:
    """Return the log once a line is in it so often."""
    until = time.monotonic() + PATIENCE_S
    while (text := (folder / "log.txt").read_text()).count(line) < times:
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return text


def test_a_running_study_is_paused_steered_and_stopped(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    assert sweeper("pause", "s", folder=tmp_path).stdout.startswith("study s: each trial waits")
    wait_for(tmp_path, "pause: each trial waits at the end of its epoch")
    time.sleep(1.5)  # the epoch that was on its way
    paused = (tmp_path / "log.txt").read_text()
    time.sleep(2)
    assert (tmp_path / "log.txt").read_text() == paused
    assert "paused: `sweeper resume` lets the trials go on" in sweeper("watch", "s", folder=tmp_path).stdout

    queued = sweeper("enqueue", "s", "optimizer.lr=0.00321", "--name", "mine", folder=tmp_path)
    assert queued.stdout == "study s: mine is queued\n"
    wrong = sweeper("enqueue", "s", "optimizer.lr=7", folder=tmp_path)
    assert wrong.returncode != 0
    assert "not in the search space of s" in wrong.stderr
    idle = sweeper("skip", "s/400", folder=tmp_path)
    assert idle.returncode != 0
    assert "trial 400 of s does not run now" in idle.stderr
    assert sweeper("resume", folder=tmp_path).stdout == "study s: the trials go on\n"
    wait_for(tmp_path, "resume: the trials go on")

    for _ in range(20):  # a trial in its first epoch has no rate
        seen = sweeper("watch", "s", folder=tmp_path)
        assert seen.returncode == 0
        assert "/500 trials" in seen.stdout
        if re.search(r"1 at work, [\d,]+ images/s", seen.stdout):
            break
    else:
        pytest.fail(f"no images a second in {seen.stdout}")

    done = (tmp_path / "log.txt").read_text().count("complete:")
    wait_for(tmp_path, "complete:", done + 3)
    assert sweeper("set", "s", "trials=400", folder=tmp_path).returncode == 0
    assert " of 400 trials done" in wait_for(tmp_path, "of 400 trials done")
    assert sweeper("set", "s", "workers=2", folder=tmp_path).stdout == "study s: 2 trials at the same time\n"
    wait_for(tmp_path, "set: 2 trials at the same time")
    assert sweeper("stop", "s", folder=tmp_path).returncode == 0
    assert running.wait(PATIENCE_S) == 0, (tmp_path / "log.txt").read_text()
    assert "stopped: `sweeper stop` asked for it" in (tmp_path / "log.txt").read_text()
    rows = StudyStore.load(f"sqlite:///{tmp_path / 'optuna.db'}", "s").rows()
    assert {row.state for row in rows} == {TrialState.COMPLETE}
    assert 0.00321 in [row.params["optimizer.lr"] for row in rows]


def test_a_study_whose_trials_are_all_paused_is_stopped_and_goes_on_later(tmp_path: Path) -> None:
    pausing = {**SPACE, "pruner": {"name": "promote", "rungs": [1], "keep": 0.01}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(pausing))
    command = [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report"]
    log = (tmp_path / "log.txt").open("w")
    with log, subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log, text=True) as process:
        wait_for(tmp_path, "paused after epoch 1", 2)
        assert sweeper("stop", "s", folder=tmp_path).returncode == 0
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log.txt").read_text()
    said = (tmp_path / "log.txt").read_text()
    assert "no trial is complete yet; run the same command again to continue" in said
    again = sweeper("run", "space.yaml", "--no-report", "--trials", "3", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 complete" in again.stdout


def test_a_confirmation_is_paused_and_stopped_and_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, "budget": {"trials": 1, "epochs": 60}}))
    assert sweeper("run", "space.yaml", "--no-report", folder=tmp_path).returncode == 0
    command = [sys.executable, "-m", "sweeper", "confirm", "s", "--top", "1", "--seeds", "50"]
    log = (tmp_path / "log.txt").open("w")
    with log, subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log, text=True) as process:
        wait_for(tmp_path, "repetition 0 epoch 2/60")
        refused = sweeper("enqueue", "s", "optimizer.lr=0.002", folder=tmp_path)
        assert "only takes stop, pause, resume and set workers=N meanwhile" in refused.stderr
        watched = sweeper("watch", "s", folder=tmp_path).stdout
        assert re.search(r"the best trials are trained again: \d of 50 repetitions done", watched)
        assert "at work" not in watched
        assert sweeper("pause", "s", folder=tmp_path).stdout.startswith("study s: each trial waits")
        assert sweeper("resume", "s", folder=tmp_path).stdout == "study s: the trials go on\n"
        assert sweeper("stop", folder=tmp_path).stdout.startswith("study s: no more trials are started")
        assert process.wait(PATIENCE_S) == 0
    said = (tmp_path / "log.txt").read_text()
    assert "unfinished (`sweeper stop` asked for it); run the same command again to continue" in said
    done = re.findall(r"repetition (\d+) complete", said)
    again = sweeper("confirm", "s", "--top", "1", "--seeds", f"{max(2, len(done))}", folder=tmp_path)
    assert again.returncode == 0
    assert f"over {max(2, len(done))} fresh seeds" in again.stdout
    assert f"repetition {done[0]} complete" not in again.stdout


def test_without_a_running_study_there_is_nothing_to_steer(tmp_path: Path) -> None:
    for command in (
        ["stop"],
        ["pause", "s"],
        ["skip", "s/1"],
        ["enqueue", "s", "batch_size=4"],
        ["set", "s", "trials=9"],
    ):
        told = sweeper(*command, folder=tmp_path)
        assert told.returncode != 0
        assert "no study runs in this folder" in told.stderr or "does not run in this folder" in told.stderr
    for command, wanted in (
        (["skip", "seven"], "should name a trial, such as mushrooms/7, got seven"),
        (["enqueue", "s", "batch_size"], "a setting is written KEY=VALUE"),
        (["enqueue", "s", "batch_size=["], "batch_size=[: batch_size: the value is not valid YAML"),
        (["set", "s", "epochs=9"], "only trials=N and workers=N can be changed while a study runs"),
        (["set", "s", "workers=0"], "should be a whole number from 1 to 10,000, got 0"),
        (["set", "s", "trials=many"], "should be a whole number from 1 to 1,000,000, got many"),
    ):
        told = sweeper(*command, folder=tmp_path)
        assert told.returncode == 2
        assert wanted in told.stderr

"""`sweeper run --for`: in the end there is a model, exported and confirmed, whatever goes wrong before."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from sweeper.confirm.run import Confirmed
from sweeper.errors import StudyLocked
from sweeper.library.run import run
from sweeper.study.result import SweepResult
from tests.functional.answer import Ask, ask
from tests.functional.program import sweeper

__all__ = ["ask"]  # a fixture

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "s",
    "dataset": {"builtin": "digits", "limit": {"train_images": 200, "val_images": 60}},
    "budget": {"epochs": 2},
    "search": {
        "backbone": "test_resnet",
        "image_size": 16,
        "optimizer": {"name": "adamw", "lr": {"float": [1e-3, 1e-2]}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return tmp_path


def test_a_run_with_a_deadline_ends_with_the_confirmed_best_exported(folder: Path) -> None:
    ran = sweeper("run", "space.yaml", "--for", "10m", "--trials", "3", "--no-report", folder=folder)
    assert ran.returncode == 0, ran.stderr
    moment = r"(\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d)"  # with the date where it is after midnight
    assert re.search(rf"deadline  {moment}; the search, then the best trials again", ran.stdout)
    assert "next: sweeper predict s PHOTOS" in ran.stdout
    confirmed = re.search(r"trial (\d) is confirmed", ran.stdout)
    assert confirmed, ran.stdout
    exported = re.findall(r"exporting trial (\d), the best so far", ran.stdout)
    assert exported[-1] == confirmed[1]
    assert (folder / "exports" / "s" / "model.onnx").exists()
    assert "registered as version" in ran.stdout
    assert re.search(r"m\d\ds before the deadline", ran.stdout), "three trials take no ten minutes"

    written = (folder / "exports" / "s" / "config.json").stat().st_mtime_ns
    longer = sweeper("run", "space.yaml", "--for", "20m", "--trials", "3", "--no-report", folder=folder)
    assert longer.returncode == 0, longer.stderr
    assert "exports/s holds the best trial already" in longer.stdout.replace(f"{folder}/", "")
    assert "registered as" not in longer.stdout
    assert (folder / "exports" / "s" / "config.json").stat().st_mtime_ns == written, "it may hold more than a plain one"

    again = sweeper("run", "space.yaml", "--for", "1s", "--trials", "3", "--no-report", folder=folder)
    assert again.returncode == 0, again.stderr
    assert "the time is used up, and exports/s holds the best trial" in again.stdout.replace(f"{folder}/", "")
    assert "exporting" not in again.stdout
    refused = sweeper("init", "nowhere", "--out", "space.yaml", folder=folder)
    assert refused.returncode == 2
    assert "space.yaml is the search space of s, which has been run here" in refused.stderr


def test_the_table_at_the_end_counts_the_epochs_that_the_deadline_has_left(folder: Path) -> None:
    simulated = {**SPACE, "budget": {"epochs": 200}, "engine": {"name": "simulate", "epoch": 10}}
    (folder / "space.yaml").write_text(yaml.safe_dump(simulated))
    ran = sweeper("run", "space.yaml", "--for", "1h", folder=folder)
    assert ran.returncode == 0, ran.stderr
    planned = re.search(r"trials have (\d+) epochs from now on, not 200", ran.stdout)
    assert planned, ran.stdout
    assert re.search(rf"^ +1 +\d+ +[\d.]+ +\d+/{planned[1]} ", ran.stdout, re.MULTILINE), ran.stdout
    (listed,) = json.loads(sweeper("list", "--json", folder=folder).stdout)["studies"]
    assert listed["state"] == "finished"
    assert "finished: all trials have ended, or the time is used up" in sweeper("watch", "s", folder=folder).stdout


@pytest.mark.slow
def test_as_many_trials_as_fit_are_tried_and_the_end_is_near_the_deadline(folder: Path) -> None:
    ran = sweeper("run", "space.yaml", "--for", "75s", folder=folder)
    assert ran.returncode == 0, ran.stderr
    assert "as many as fit into the time" in ran.stdout
    assert len(re.findall(r"^trial \d+ started", ran.stdout, re.MULTILINE)) > 3
    found = re.search(r"([\d.]+)s (before|after) the deadline", ran.stdout)
    assert found, ran.stdout
    assert float(found[1]) < 25


def test_an_export_that_cannot_be_written_is_told_and_nothing_else_is_lost(folder: Path) -> None:
    (folder / "exports").mkdir()
    (folder / "exports" / "s").write_text("mine")
    ran = sweeper("run", "space.yaml", "--for", "10m", "--trials", "2", "--no-report", folder=folder)
    assert ran.returncode == 0, ran.stderr
    assert (folder / "exports" / "s").read_text() == "mine"
    assert "nothing of it is lost; later: sweeper confirm s, then sweeper best s --export" in ran.stderr
    assert "study s: 2 complete" in ran.stdout or "pruned" in ran.stdout


def test_a_confirmation_that_fails_takes_nothing_from_the_export(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StudyLocked("another command has the study")

    monkeypatch.setattr("sweeper.confirm.run.confirm_leaders", fails)
    answer = ask("run", "space.yaml", "--for", "10m", "--trials", "2", "--no-report")
    assert answer.code == 0, answer.err
    assert "not confirmed: another command has the study" in answer.err
    assert "To confirm: sweeper confirm s, then sweeper best s --export" in answer.err
    assert "registered as version 1" in answer.out
    assert "next: sweeper predict s PHOTOS" in answer.out
    assert (folder / "exports" / "s" / "model.onnx").exists()


def test_a_program_learns_that_the_confirmation_was_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Confirmed:
        return Confirmed(SweepResult([], interrupted=True, stopped_because=None, undelivered=0, experiment=None), None)

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sweeper.library.run.confirm_leaders", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run({**SPACE, "budget": {"epochs": 2, "trials": 2, "for": "10m"}})
    assert (folder / "exports" / "s" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--for", "soon"), "budget.for: should be seconds or a duration like 45m, 8h or 1d12h"),
        (("--for", "2h", "--until", "18:00"), "say the same in two ways"),
        (("--until", "late"), "--until: should be a time such as 18:00"),
        (("--for", "2h", "--set", "budget.timeout=1h"), "both limit the time"),
        (("--for", "-1s"), "budget.for: should be seconds or a duration"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_done(folder: Path, options: tuple[str, ...], told: str) -> None:
    ran = sweeper("run", "space.yaml", *options, folder=folder)
    assert ran.returncode == 2
    assert told in ran.stderr.replace("\n", " ")
    assert not (folder / "optuna.db").exists()

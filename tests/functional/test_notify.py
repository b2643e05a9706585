"""`notify` in a search space: somebody is told how a run ended, and no file has the address."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.program import sweeper
from tests.study.test_notice import SECRET, Server, server

pytestmark = pytest.mark.sweeps

SPACE: dict[str, Any] = {
    "study": "s",
    "engine": {"name": "simulate", "epoch": 1},
    "dataset": {"path": "nowhere"},
    "budget": {"trials": 3, "epochs": 2, "max_consecutive_failures": 2},
    "search": {"backbone": "resnet10t", "optimizer": {"name": "adamw", "lr": {"float": [1e-3, 1e-2]}}},
}

__all__ = ["server"]


def told(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(server.got[-1])
    return answer


def run(folder: Path, *arguments: str, **changed: Any) -> str:
    (folder / "space.yaml").write_text(yaml.safe_dump({**SPACE, **changed}))
    ran = sweeper("run", "space.yaml", "--no-report", *arguments, folder=folder)
    return ran.stdout + ran.stderr


def test_a_webhook_is_told_of_a_finished_run_and_of_a_failed_one_and_is_written_nowhere(
    tmp_path: Path, server: Server
) -> None:
    notify = f"notify.webhook={server.address()}"
    said = run(tmp_path, "--set", notify)
    assert (told(server)["state"], told(server)["trials"]) == ("finished", {"complete": 3}), said
    assert told(server)["text"].startswith("study s finished: 3 complete; best val/accuracy 0.")

    faults = {"name": "simulate", "epoch": 1, "faults": {"failed": 1.0}}
    said += run(tmp_path, "--set", notify, "--set", "study=t", engine=faults)
    assert told(server)["state"] == "failed"
    assert "2 trials in a row failed" in told(server)["reason"]

    said += run(tmp_path, "--set", notify, seed=2)  # another search space than the study was begun with
    assert told(server)["state"] == "failed"
    assert "the study s was started with other settings" in told(server)["text"]

    assert SECRET not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_another_notifier_is_no_other_study_and_one_that_fails_does_no_harm(tmp_path: Path) -> None:
    run(tmp_path, notify={"command": "no-such-program"})
    program = shlex.join([sys.executable, "-c", "import sys; print(sys.argv[1], file=open('told.txt', 'w'))"])
    said = run(tmp_path, notify={"command": program}, budget={"trials": 4, "epochs": 2})
    assert "study s: 4 complete" in said
    assert (tmp_path / "told.txt").read_text().startswith("study s finished: 4 complete")
    said = run(tmp_path, notify={"command": "no-such-program"}, budget={"trials": 5, "epochs": 2})
    assert "study s: 5 complete" in said
    assert "the notification failed: `no-such-program` cannot be run: No such file or directory" in said


@pytest.mark.parametrize("wrong", [f"ftp://{SECRET}", SECRET, f"http://[{SECRET}"])
def test_a_wrong_address_is_refused_without_repeating_it(tmp_path: Path, wrong: str) -> None:
    said = run(tmp_path, "--set", f"notify.webhook={wrong}")
    assert "--set notify.webhook=…: notify.webhook: should be an address that begins with https:// or http://" in said
    assert SECRET not in said
    assert SECRET not in run(tmp_path, notify={"webhook": wrong})

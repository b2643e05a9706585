"""Every command that writes, on a disk that is full at one step after another, read-only, or without locks.

Each is reported on one line without a traceback, nothing is lost, and the same command continues once there is space.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from sweeper.errors import DiskError
from sweeper.files import file_lock
from tests.functional.chaos import PATIENCE_S, STUDY, Sandbox, table
from tests.functional.test_disk import mount, small_disk

__all__ = ["small_disk"]  # a fixture

COMMANDS = {
    "export": ("best", STUDY, "--export"),
    "confirm": ("confirm", STUDY, "--seeds", "2", "--top", "2"),
    "doctor": ("doctor", STUDY, "--fix"),
    "extend": ("extend", STUDY, "wider.yaml"),
}
LEFT_FREE = (0, 20_000, 120_000, 300_000)
"""Bytes that a full disk has left: a command then comes to one of its steps after another."""

REFUSED = (4, 5, 6)
NO_LOCKS = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
"""


def study_on(root: Path) -> Sandbox:
    sandbox = Sandbox.make(root, budget={"trials": 3, "epochs": 2}, pruner="none")
    assert sandbox.run() == 0, sandbox.said()
    wider = sandbox.settings()
    wider["search"]["weight_decay"] = {"float": [1e-6, 1e-1], "log": True}
    wider["budget"]["trials"] = 4
    (root / "wider.yaml").write_text(yaml.safe_dump(wider))
    return sandbox


def go(sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    """Run a command, whose output goes to no disk; return its code and what it says."""
    command = sandbox.command(*arguments)
    done = subprocess.run(
        command, cwd=sandbox.root, env=sandbox.variables(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def require_refused_or_done(name: str, sandbox: Sandbox) -> None:
    code, said = go(sandbox, *COMMANDS[name])
    if code:
        last = said.strip().splitlines()[-1]
        assert code in REFUSED or name == "doctor", said
        assert name == "doctor" or last.startswith(("error: ", "warning: ")), said


def fill(root: Path, left: int) -> Path:
    """Leave this many bytes of a disk."""
    space, filler = os.statvfs(root), root / "filler"
    with filler.open("wb") as file:
        for _ in range(max(space.f_bavail * space.f_bsize - left, 0) // 4096):
            file.write(b"x" * 4096)
    return filler


def make_read_only(root: Path) -> None:
    deadline = time.monotonic() + 30
    while mount("-o", "remount,ro", str(root)) != 0:  # processes of the command before may still be ending
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A study on which all the commands have run."""
    sandbox = study_on(tmp_path_factory.mktemp("undisturbed"))
    for command in COMMANDS.values():
        assert go(sandbox, *command)[0] in (0, 1)
    return sandbox


@pytest.fixture
def large_disk(small_disk: Path) -> Path:
    assert mount("-o", "remount,size=120m", str(small_disk)) == 0
    return small_disk


@pytest.mark.slow
def test_a_disk_that_is_full_or_read_only_at_any_step_loses_nothing(large_disk: Path, undisturbed: Sandbox) -> None:
    sandbox = study_on(large_disk)
    for name, command in COMMANDS.items():
        make_read_only(large_disk)
        require_refused_or_done(name, sandbox)
        assert mount("-o", "remount,rw", str(large_disk)) == 0
        for left in LEFT_FREE:
            filler = fill(large_disk, left)
            require_refused_or_done(name, sandbox)
            filler.unlink()
        code, said = go(sandbox, *command)
        assert code == 0 or (name == "doctor" and " agree" in said), said
    assert table(sandbox) == table(undisturbed)
    assert repetitions_of(sandbox) == repetitions_of(undisturbed)
    assert not list(sandbox.root.rglob("*.partial"))
    assert not list(sandbox.root.rglob("*.part"))
    assert " agree" in go(sandbox, "doctor", STUDY)[1]


def repetitions_of(sandbox: Sandbox) -> list[object]:
    """Return what a confirmation has trained."""
    from sweeper.confirm.repetitions import stored_repetitions

    confirmation = sandbox.workspace.study(STUDY).confirmation
    return [
        (one.number, one.repeats, one.outcome and one.outcome.best_metrics) for one in stored_repetitions(confirmation)
    ]


def test_a_file_system_without_locks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(DiskError, match=r"lock cannot be locked: No locks available\. .*work in a folder on another"),
        file_lock(tmp_path / "lock", blocking=True),
    ):
        pass


@pytest.mark.slow
def test_a_sweep_where_there_are_no_locks_is_refused_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NO_LOCKS)
    sandbox = Sandbox.make(tmp_path, budget={"trials": 1, "epochs": 1}, pruner="none")
    sandbox.environment["PYTHONPATH"] = f"{tmp_path / 'site'}:{sandbox.variables()['PYTHONPATH']}"
    code, said = go(sandbox, "run", "space.yaml")
    assert code == 4
    assert "driver.lock cannot be locked: No locks available" in said

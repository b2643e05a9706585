"""The same sweep where little is as usual: the same results to the last digit, and nothing left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.functional.chaos import PATIENCE_S, REPOSITORY, STUDY, Sandbox, require_tidy, table

FEW = {"budget": {"trials": 2, "epochs": 2}, "pruner": "none"}


def in_shell(first: str) -> list[str]:
    """Return what goes before a command so that a shell does something first."""
    return ["bash", "-c", f'{first}; exec "$@"', "bash"]


ODD = {
    "without HOME": ["env", "-u", "HOME"],
    "a HOME that is not there": ["env", "HOME=/nowhere/at/all"],
    "in Turkish": ["env", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8"],
    "in C": ["env", "LC_ALL=C", "LANG=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"],
    "umask 077": in_shell("umask 077"),
    "64 open files": in_shell("ulimit -n 64"),
    "a TMPDIR that is not there": ["env", "TMPDIR=/nowhere/at/all"],
    "a TMPDIR with a long name": in_shell('export TMPDIR="$PWD/$(printf t%.0s {1..200})"; mkdir -p "$TMPDIR"'),
    "closed output": in_shell("exec >&-"),
    "closed output and errors": in_shell("exec >&- 2>&-"),
    "without PATH": ["env", "PATH="],
    "without USER": ["env", "-u", "USER", "-u", "LOGNAME"],
    "almost nothing": ["env", "-i", f"PYTHONPATH={REPOSITORY}", "OMP_NUM_THREADS=1"],
}


def run_in(sandbox: Sandbox, before: list[str], *arguments: str) -> str:
    """Run the program in an odd environment; return what it says."""
    command = [*before, *sandbox.command(*arguments)]
    variables = {**sandbox.variables(), "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        command, cwd=sandbox.root, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    sandbox = Sandbox.make(tmp_path_factory.mktemp("plain"), **FEW)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.mark.slow
@pytest.mark.parametrize("before", ODD.values(), ids=ODD.keys())
def test_an_odd_environment_changes_no_digit(before: list[str], plain: Sandbox, tmp_path: Path) -> None:
    sandbox = Sandbox.make(tmp_path, **FEW)
    run_in(sandbox, before)
    assert table(sandbox) == table(plain)
    require_tidy(sandbox)
    best, expected = (run_in(one, before, "best", STUDY).partition("\n")[0] for one in (sandbox, plain))
    assert best == expected
    run_in(sandbox, before, "doctor", STUDY)


@pytest.mark.slow
def test_what_is_made_under_umask_077_is_nobody_elses_to_read(tmp_path: Path) -> None:
    sandbox = Sandbox.make(tmp_path, **FEW)
    run_in(sandbox, ODD["umask 077"])
    made = [sandbox.workspace.optuna_database, sandbox.workspace.mlflow_database, *sandbox.workspace.state.rglob("*")]
    open_to_others = [path for path in made if path.stat().st_mode & 0o077]
    assert not open_to_others

"""Ask the real program something and take its answer: exit code, output and messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch  # noqa: F401  # names are then checked in this process, and not for each answer in one of its own

from sweeper.cli import main


@dataclass(frozen=True)
class Answer:
    """How the program ended, and what it said."""

    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run `sweeper` in this process, in tmp_path; anything but a clean exit fails the test with its traceback."""
    for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["sweeper", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Answer(code, *capsys.readouterr())

    return run


def everything_in(folder: Path) -> set[str]:
    """Return the names of all files and folders below a folder."""
    return {os.path.join(base, name) for base, *names in os.walk(folder) for part in names for name in part}  # noqa: PTH118

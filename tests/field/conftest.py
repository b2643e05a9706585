from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.addresses import sqlite_address
from tests.field.folders import Here


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def here(tmp_path: Path, created: Path) -> Here:
    return Here.made(tmp_path / "here", created)


@pytest.fixture
def server(tmp_path: Path, created: Path) -> str:
    """The address of a database that several people record in."""
    (tmp_path / "server").mkdir()
    return sqlite_address(Path(shutil.copy(created, tmp_path / "server" / "mlflow.db")))

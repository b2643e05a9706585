from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from hypothesis import settings

from sweeper.addresses import STORAGE_VARIABLE
from sweeper.paths import Workspace

# Several processes of a test share two cores; threads that spin for each other would slow all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def created(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating one takes seconds."""
    from sweeper.tracking.mlflow_store import MlflowStore

    workspace = Workspace(tmp_path_factory.mktemp("empty"))
    MlflowStore(f"sqlite:///{workspace.mlflow_database}", workspace)
    return workspace.mlflow_database


@pytest.fixture(autouse=True)
def no_addresses_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test read no address that the environment names, or that a test before it has left there."""
    for name in ("MLFLOW_TRACKING_URI", STORAGE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_precision_of_others() -> Iterator[None]:
    """Let a test compute in no precision that a test before it has asked for in this process."""
    device = sys.modules.get("sweeper.training.device")  # where none has, torch need not be loaded
    with device.computing_in("auto") if device else nullcontext():
        yield


@pytest.fixture
def workspace(tmp_path: Path, created: Path) -> Workspace:
    """A working directory with an empty MLflow database of its own."""
    shutil.copy(created, tmp_path / created.name)
    return Workspace(tmp_path)


# The same examples in every run: a change is judged by what it changes. HYPOTHESIS_PROFILE=search looks for new ones.
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeat")
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(PROFILE)

if PROFILE == "repeat":
    # Hypothesis also draws constants of the modules that happen to be imported, which depend on the tests run before.
    # Old versions do not, and have no such module.
    with suppress(ImportError):
        from hypothesis.internal import constants_ast
        from hypothesis.internal.conjecture import providers

        NO_CONSTANTS = constants_ast.Constants()
        providers._get_local_constants = lambda: NO_CONSTANTS

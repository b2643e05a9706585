"""One set of services for all tests of this folder, and studies that use them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from tests.functional.chaos import STUDY, Sandbox
from tests.services.stack import Stack, make_databases, services

SPACE: dict[str, Any] = {"budget": {"trials": 3, "epochs": 30}, "pruner": "none"}
COUNTER = itertools.count()


@dataclass
class Served(Sandbox):
    """A folder whose study is kept by the services: in a database and an experiment of its own."""

    stack: Stack = field(kw_only=True)
    name: str = field(kw_only=True)

    @property
    def tracking_uri(self) -> str:
        return self.stack.server.uri

    def rows(self) -> list[TrialRow]:
        store = StudyStore.load(self.stack.storage(self.name), STUDY)
        rows = store.rows()
        storage: Any = store._study._storage
        storage.remove_session()
        storage._backend.engine.dispose()
        return rows


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with services(tmp_path_factory.mktemp("services")) as stack:
        yield stack


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Sandbox:
    """The same study, undisturbed, on files alone."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("reference"), **SPACE)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.fixture(scope="session")
def make_served(stack: Stack) -> Callable[[Path], Served]:
    def make(root: Path) -> Served:
        name = f"study-{next(COUNTER)}"
        make_databases(stack.database, name)
        made = Sandbox.make(root, **SPACE)
        return Served(made.root, stack.variables(name), ("--tracking-name", name), stack=stack, name=name)

    return make


@pytest.fixture
def served(make_served: Callable[[Path], Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A folder in which nothing has been run yet; the test itself may ask the services as the user may."""
    sandbox = make_served(tmp_path)
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return sandbox

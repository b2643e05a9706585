"""Nodes of a Ray cluster that read images from an object store, and send through it what trials leave."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Machines, cluster, machines, node_folder, sandbox_on
from tests.functional.chaos import Sandbox, check
from tests.services.stack import BUCKET, ObjectStore, moto_server

__all__ = ["cluster", "machines", "node_folder"]
pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"budget": {"trials": 3, "epochs": 4}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store whose address and key stand in the environment of the nodes too."""
    if moto_server() is None:
        pytest.skip("no moto: make test-services installs it")
    pytest.importorskip("s3fs", reason="s3fs is not installed: make test-services does it")
    with contextlib.closing(ObjectStore(tmp_path)) as made:
        for name, value in {**made.variables, "AWS_ENDPOINT_URL": made.address}.items():
            monkeypatch.setenv(name, value)
        made.make_bucket()
        yield made


@pytest.fixture
def undisturbed(tmp_path: Path) -> Sandbox:
    sandbox = Sandbox.make(tmp_path / "undisturbed", **SHORT)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def test_images_come_from_a_bucket_and_what_trials_leave_goes_through_it(
    store: ObjectStore, undisturbed: Sandbox, machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "images"), "tar", undisturbed.root / "images")
    store.client().upload_file(archive, BUCKET, "images.tar")
    machines.add()
    shared = ("--shared", f"s3://{BUCKET}/shared")
    addressed = {"dataset": {"path": f"s3://{BUCKET}/images.tar"}}
    sandbox = sandbox_on(machines, tmp_path / "work", node_folder, *shared, **SHORT, **addressed)
    shutil.rmtree(sandbox.root / "images")
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, {})
    assert list(node_folder.rglob("fetched/*/content"))
    assert store.objects() == ["images.tar"]  # what has arrived is removed
    assert "shared" in (tmp_path / "store.txt").read_text()


def test_a_bucket_that_is_gone_is_told_in_one_line(
    store: ObjectStore, machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    sandbox = sandbox_on(
        machines, tmp_path / "work", node_folder, **SHORT, dataset={"path": f"s3://{BUCKET}/missing.tar"}
    )
    assert sandbox.run() != 0
    assert f"s3://{BUCKET}/missing.tar" in sandbox.said()
    assert "Traceback" not in sandbox.said()

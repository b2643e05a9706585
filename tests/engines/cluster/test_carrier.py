"""Files arrive whole or not at all, through Ray's pieces or a shared folder alike."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.sweep import SweepConfig
from sweeper.engines.cluster import carrier as carriers
from sweeper.engines.cluster.carrier import (
    SMALL_BYTES,
    ArrivedDamaged,
    NotArrived,
    RayCarrier,
    SharedCarrier,
    carrier,
    receive,
    send,
)
from sweeper.engines.cluster.engine import _absolute
from sweeper.engines.cluster.folders import ReceivedFolder, SentFolder, files_of, move_into
from sweeper.errors import ConfigError, DiskError, StudyError
from sweeper.paths import TrialFolder
from sweeper.study.preparation import refuse_impossible


@pytest.fixture
def shared(tmp_path: Path) -> SharedCarrier:
    return SharedCarrier(f"file://{tmp_path}/shared", "one")


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 25])
def test_a_file_arrives_as_it_was_sent_whatever_its_size(
    shared: SharedCarrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(carriers, "PIECE_BYTES", 10)
    (tmp_path / "file").write_bytes(bytes(range(size)))
    sent = send(shared, tmp_path / "file")
    assert len(sent.pieces) == -(-size // 10)
    receive(shared, sent, tmp_path / "arrived")
    assert (tmp_path / "arrived").read_bytes() == bytes(range(size))


def test_a_small_file_goes_with_its_message_and_is_fetched_from_no_other_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # nothing is asked of its store
    content = bytes(SMALL_BYTES)
    (tmp_path / "file").write_bytes(content)
    sent = send(RayCarrier(), tmp_path / "file")
    assert sent.pieces == [content]
    receive(RayCarrier(), sent, tmp_path / "arrived")
    assert (tmp_path / "arrived").read_bytes() == content
    (tmp_path / "file").write_bytes(content + b"1")
    with pytest.raises(ImportError):
        send(RayCarrier(), tmp_path / "file")


def test_a_file_that_arrives_damaged_does_not_replace_the_one_before(shared: SharedCarrier, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"new")
    (tmp_path / "arrived").write_bytes(b"old")
    sent = replace(send(shared, tmp_path / "file"), digest="0" * 32)
    with pytest.raises(ArrivedDamaged, match="arrived arrived with another content"):
        receive(shared, sent, tmp_path / "arrived")
    assert (tmp_path / "arrived").read_bytes() == b"old"
    assert not (tmp_path / "arrived.part").exists()


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("shared", "/work/shared"),
        ("/mnt/shared", "/mnt/shared"),
        ("file:///mnt/shared", "file:///mnt/shared"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        (None, None),
    ],
)
def test_a_relative_folder_is_the_drivers_on_every_node(named: str | None, meant: str | None) -> None:
    assert _absolute(Path("/work"), named) == meant


def test_a_piece_that_is_not_there_is_no_trouble_of_the_disk_here(
    shared: SharedCarrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.engines.cluster.carrier.RETRIES_S", ())
    (tmp_path / "file").write_bytes(b"new")
    sent = send(shared, tmp_path / "file")
    shared.close()
    with pytest.raises(
        NotArrived, match=r"engine\.shared, .* cannot be reached .* must be able to read and write there"
    ):
        receive(shared, sent, tmp_path / "arrived")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_what_an_earlier_attempt_left_on_the_node_reaches_the_driver_too(shared: SharedCarrier, tmp_path: Path) -> None:
    node, driver = TrialFolder(tmp_path / "node" / "trial-0001"), TrialFolder(tmp_path / "driver" / "trial-0001")
    node.predictions_of(1).parent.mkdir(parents=True)
    node.predictions_of(1).write_text("of an epoch that was not reported")
    sent = SentFolder(node)
    sent.take(shared, {})
    ReceivedFolder(driver, ()).bring(shared, *sent.changes(shared))
    assert driver.predictions_of(1).read_text() == "of an epoch that was not reported"


names = st.sampled_from(
    ["checkpoint.pt", "history.json", "outcome.json", "artifacts/weights/epoch-0001.safetensors"]
    + [f"leading/epoch-000{epoch}.weights" for epoch in (1, 2)]
)
states = st.dictionaries(names, st.binary(max_size=8))


@given(st.lists(states, min_size=1, max_size=6))
def test_the_drivers_folder_follows_the_nodes_through_every_change(
    tmp_path_factory: pytest.TempPathFactory, course: list[dict[str, bytes]]
) -> None:
    root = tmp_path_factory.mktemp("folders")
    node, driver = TrialFolder(root / "node" / "trial-0001"), TrialFolder(root / "driver" / "trial-0001")
    shared = SharedCarrier(f"file://{root}/shared", "one")
    sent, received = SentFolder(node), ReceivedFolder(driver, ())
    sent.take(shared, {})
    for number, state in enumerate(course):
        for _, path in files_of(node):
            path.unlink()
        for name, content in state.items():
            path = node.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content + bytes([number]))  # so that each state differs in content
        received.bring(shared, *sent.changes(shared))
        assert {name: path.read_bytes() for name, path in files_of(driver)} == {
            name: content + bytes([number]) for name, content in state.items()
        }


def test_what_the_driver_writes_itself_is_neither_sent_nor_removed(shared: SharedCarrier, tmp_path: Path) -> None:
    node, driver = TrialFolder(tmp_path / "node" / "trial-0001"), TrialFolder(tmp_path / "driver" / "trial-0001")
    for folder in (node, driver):
        folder.path.mkdir(parents=True)
    driver.run.write_text("delivered so far")
    node.spec.write_text("spec")
    node.history.write_text("[]")
    sent = SentFolder(node)
    ReceivedFolder(driver, ()).bring(shared, *sent.changes(shared))
    assert sorted(path.name for path in driver.path.iterdir()) == ["history.json", "run.json"]
    assert sent.changes(shared)[0] == {}  # nothing is sent twice


def test_what_a_fold_has_left_joins_what_the_trial_has(tmp_path: Path) -> None:
    arrived, trial = TrialFolder(tmp_path / "arrived"), TrialFolder(tmp_path / "trial-0001")
    for folder in (arrived, trial):
        for number in (2, 3) if folder is trial else (3,):
            folder.fold(number).path.mkdir(parents=True)
            folder.fold(number).history.write_text(folder.path.name)
    arrived.fold(3).outcome.write_text("ended")
    move_into(trial, arrived)
    assert trial.fold(2).history.read_text() == "trial-0001"
    assert trial.fold(3).history.read_text() == "arrived"
    assert trial.fold(3).outcome.exists()
    assert not files_of(arrived)
    trial.fold(3).outcome.unlink()
    trial.fold(3).outcome.mkdir()
    arrived.fold(3).outcome.write_text("ended")
    with pytest.raises(DiskError, match=r"outcome\.json cannot be written"):
        move_into(trial, arrived)


def test_an_outcome_is_written_after_all_that_it_speaks_of(
    shared: SharedCarrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, driver = TrialFolder(tmp_path / "node" / "trial-0001"), TrialFolder(tmp_path / "driver" / "trial-0001")
    fold = node.fold(2)
    of_fold = (fold.outcome, fold.history, fold.checkpoint)
    for path in (node.outcome, node.checkpoint, node.history, node.curves, node.leading_of(2), *of_fold):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    written: list[str] = []
    original = receive

    def note(*arguments: object) -> None:
        written.append(Path(str(arguments[2])).relative_to(driver.path).as_posix())
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sweeper.engines.cluster.folders.receive", note)
    ReceivedFolder(driver, ()).bring(shared, *SentFolder(node).changes(shared))
    ended = ["checkpoint.pt", "history.json", "outcome.json"]
    assert sorted(written[:2]) == ["artifacts/curves.png", "leading/epoch-0002.weights"]
    assert written[2:] == [*(f"fold-2/{name}" for name in ended), *ended]


@pytest.mark.parametrize("address", ["foo://x", "file:///proc/nowhere"])
def test_a_shared_folder_that_cannot_be_used_is_an_error_in_words(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.engines.cluster.carrier.RETRIES_S", ())
    with pytest.raises(StudyError, match=rf"engine.shared, {address}: "):
        carrier(address, "a")


def test_a_store_that_is_away_at_the_end_keeps_its_files_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = SharedCarrier(f"file://{tmp_path}/shared", "a")
    SharedCarrier(f"file://{tmp_path}/shared", "b").put(b"of a slot that is gone")
    found.close("b")
    assert list((tmp_path / "shared").iterdir()) == []

    def away(*_: object) -> bool:
        raise ValueError("no route to host")

    monkeypatch.setattr(found._files, "exists", away)
    found.close()
    assert "no route to host" in caplog.text


def test_what_a_killed_driver_and_its_slots_have_left_is_removed_and_nothing_of_others(tmp_path: Path) -> None:
    address = f"file://{tmp_path}/shared"
    for sender in ("0a1b", "0a1b-1", "0a1b-2-driver", "0a1bc", "ffff", "ffff-1"):
        SharedCarrier(address, sender).put(b"on its way")
    SharedCarrier(address, "new").remove_all_of("0a1b")
    left = [path.name for path in (tmp_path / "shared").iterdir()]
    assert sorted(left) == ["0a1bc", "ffff", "ffff-1", "new"]


class Away(Exception):
    """As of stores whose errors are none of the system's."""


@pytest.mark.parametrize("reading", [True, False], ids=["read", "left"])
def test_a_store_that_is_away_for_a_moment_is_tried_again(
    shared: SharedCarrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: bool
) -> None:
    monkeypatch.setattr("sweeper.engines.cluster.carrier.RETRIES_S", (0.0,))
    (tmp_path / "sent").write_bytes(b"content")
    shipment, failures = send(shared, tmp_path / "sent"), [Away("no route"), Away("no route"), Away("no route")]
    name = "cat_file" if reading else "pipe_file"
    works = getattr(shared._files, name)

    def unsteady(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return works(*arguments)

    monkeypatch.setattr(shared._files, name, unsteady)
    with pytest.raises(NotArrived, match=r"cannot be reached \(Away: no route\)"):
        receive(shared, shipment, tmp_path / "here") if reading else send(shared, tmp_path / "sent")
    shipment = shipment if reading else send(shared, tmp_path / "sent")
    receive(shared, shipment, tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"content"
    assert not failures


def test_a_store_that_lets_nothing_be_removed_is_no_failure_and_is_told_once(
    shared: SharedCarrier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: str) -> None:
        raise PermissionError("not allowed")

    monkeypatch.setattr(shared._files, "rm_file", refused)
    for _ in range(2):
        shared.drop([shared.put(b"content")])
    assert caplog.text.count("not allowed") == 1


def test_a_bucket_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.engines.cluster.carrier.RETRIES_S", ())
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.protocol", ("s3", "s3a"))
    with pytest.raises(StudyError, match=r"mistyped: cannot be used \(FileNotFoundError"):
        SharedCarrier(f"file://{tmp_path}/mistyped", "a")
    assert not (tmp_path / "mistyped").exists()


def test_an_address_with_a_password_is_refused_since_it_would_be_stored() -> None:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "engine": {"name": "ray", "shared": "sftp://ada:hidden@store/x"},
        "search": {"backbone": "test_resnet"},
    }
    with pytest.raises(ConfigError, match=r"engine\.shared.*no password") as refused:
        refuse_impossible(SweepConfig.model_validate(content))
    assert "hidden" not in str(refused.value)

"""Files of a study that were cut short or overwritten: reported with the remedy, made anew, or reported as lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from sweeper.errors import DamagedFile
from sweeper.paths import StudyFolder
from sweeper.seal import without_seal
from sweeper.upkeep.doctor import examine_study
from sweeper.upkeep.sync import sync_study
from tests.field.folders import Here, runs

pytestmark = pytest.mark.sweeps

DAMAGE = {
    "cut short": b'{"study": "s", "tra',
    "empty": b"",
    "zeros": b"\0" * 64,
    "another form": b'{"no": 1}',
    "Latin-1": b'"\xe9',
}


@pytest.fixture(params=list(DAMAGE.values()), ids=list(DAMAGE))
def damage(request: pytest.FixtureRequest) -> bytes:
    content: bytes = request.param
    return content


def require_told_and_repaired(here: Here, file: Path) -> None:
    """The doctor names the file, changes nothing unless asked to, and then finds nothing."""
    damaged = file.read_bytes()
    assert any(f"{file} is damaged" in what for what in here.wrong())
    assert file.read_bytes() == damaged
    here.wrong(fix=True)
    assert here.wrong() == []


def test_a_damaged_card_is_reported_by_run_and_made_anew_from_the_storage(here: Here, damage: bytes) -> None:
    here.run(1)
    before = here.folder.card.read_text()
    here.folder.card.write_bytes(damage)
    with pytest.raises(DamagedFile, match=rf"{here.folder.card} is damaged \(.*doctor STUDY --fix repairs it"):
        here.run(2)
    require_told_and_repaired(here, here.folder.card)
    assert here.folder.card.read_text() == before
    assert here.run(2).undelivered == 0
    assert sorted(runs(here.tracking)) == ["s", "trial-0000", "trial-0001"]


def forget_card(here: Here) -> None:
    """Make the storage one of an earlier version of sweeper, which did not hold the card."""
    store = here.store
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_user_attributes WHERE key = 'card'")


def test_a_card_that_the_storage_does_not_hold_is_made_anew_from_mlflow(here: Here) -> None:
    here.run(1)
    before = json.loads(without_seal(here.folder.card.read_bytes()))
    forget_card(here)
    here.folder.card.write_bytes(b"{")
    require_told_and_repaired(here, here.folder.card)
    now = json.loads(without_seal(here.folder.card.read_bytes()))
    assert now["params"] == {key: str(value) for key, value in before["params"].items()}  # MLflow keeps texts
    assert {**now, "params": None} == {**before, "params": None}


def test_a_card_that_nobody_holds_any_more_is_reported_with_what_is_lost(here: Here) -> None:
    here.run(1)
    forget_card(here)
    mlflow.MlflowClient(here.tracking).delete_run(runs(here.tracking)["s"].info.run_id)
    here.folder.card.write_bytes(b"{")
    (what,) = here.wrong(fix=True)
    assert "not repaired: neither the storage nor MLflow has a copy. Lost are the address" in what


@pytest.mark.parametrize(
    "file",
    [lambda folder: folder.identity, lambda folder: folder.parent_run, lambda folder: folder.history],
    ids=["identity", "parent run", "history"],
)
def test_what_stands_elsewhere_too_is_looked_up_again(
    here: Here, damage: bytes, file: Callable[[StudyFolder], Path]
) -> None:
    here.run(1)
    identity = here.store.identity
    file(here.folder).write_bytes(damage)
    require_told_and_repaired(here, file(here.folder))
    assert here.run(2).undelivered == 0
    assert here.store.identity is not None
    assert identity is not None
    assert here.store.identity.id == identity.id
    assert sorted(runs(here.tracking)) == ["s", "trial-0000", "trial-0001"]


@pytest.mark.parametrize("name", ["spec", "outcome", "history", "run"])
def test_a_damaged_file_of_a_trial_holds_up_no_other_and_is_repaired(here: Here, name: str, server: str) -> None:
    assert here.run(2, tracking="http://127.0.0.1:9").undelivered > 0
    file = getattr(here.folder.trial(0), name)
    file.write_bytes(b"[{")
    with pytest.raises(DamagedFile, match=rf"{file} is damaged"):
        sync_study(here.workspace, here.storage, "s", server)
    assert sorted(runs(server)) in (["s", "trial-0001"], ["s", "trial-0000", "trial-0001"])
    examine_study(here.workspace, here.storage, "s", server, fix=True)
    examine_study(here.workspace, here.storage, "s", server, fix=True)
    assert here.wrong(tracking=server) == []
    assert {name: run.info.status for name, run in runs(server).items()} == {
        "s": "FINISHED",
        "trial-0000": "FINISHED",
        "trial-0001": "FINISHED",
    }


def test_damaged_looks_at_the_test_split_are_reported_and_removed(here: Here) -> None:
    here.run(1)
    looks = here.folder.confirmation.test_looks
    looks.parent.mkdir(parents=True)
    looks.write_bytes(b"[")
    require_told_and_repaired(here, looks)
    assert not looks.exists()


def test_damaged_repetitions_are_reported_as_lost(here: Here) -> None:
    here.run(1)
    file = here.folder.confirmation.repetitions
    file.parent.mkdir(parents=True)
    file.write_bytes(b"[")
    (what,) = here.wrong(fix=True)
    assert f"{file} is damaged" in what
    assert file.exists()

"""A run that dies while it takes a study up leaves nothing that locks the study out or mixes it with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.addresses import sqlite_address
from sweeper.errors import ForeignStudy, StudyError
from sweeper.paths import StudyFolder
from sweeper.study import run
from sweeper.study.place import read_identity
from tests.field.folders import Here


def dies(*_: object, **__: object) -> None:
    raise StudyError("the machine is lost")


def test_a_study_whose_first_run_died_before_its_storage_knew_the_id_goes_on(
    here: Here, tmp_path: Path, created: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    storage = sqlite_address(tmp_path / "server" / "optuna.db")
    with monkeypatch.context() as patch:
        patch.setattr(run, "take_storage", dies)
        with pytest.raises(StudyError, match="lost"):
            here.run(1, storage=storage)
    known = read_identity(here.folder)
    assert known is not None
    other = Here.made(tmp_path / "other", created)
    with pytest.raises(ForeignStudy, match="begun in another folder"):
        other.run(1, storage=storage)
    assert len(here.run(1, storage=storage).rows) == 1
    again = read_identity(here.folder)
    assert again is not None
    assert again.id == known.id


@pytest.mark.parametrize("parts", range(1, 6))
def test_what_an_earlier_study_has_left_stays_together_wherever_a_run_dies(
    here: Here, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    here.run(2, tracking="http://127.0.0.1:9")
    (here.folder.path / "logs").mkdir()
    earlier, was = read_identity(here.folder), left_in(here.folder.path)
    assert earlier is not None
    assert was == ["identity.json", "logs", "sweep", "trial-0000", "trial-0001"]
    here.workspace.optuna_database.unlink()
    rename = Path.rename
    renamed: list[str] = []

    def dies_after_some(path: Path, target: Path) -> Path:
        if "~" in str(target):
            if len(renamed) == parts:
                dies()
            renamed.append(path.name)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dies_after_some)
        patch.setattr("sweeper.study.claim.write_identity", dies)
        with pytest.raises(StudyError, match="lost"):
            here.run(1)
    assert here.run(1).undelivered == 0
    (aside,) = here.workspace.earlier_studies("s")
    assert left_in(aside) == was
    assert read_identity(StudyFolder(aside)) == earlier
    assert {"trial-0000", "trial-0001"}.isdisjoint(left_in(here.folder.path))
    now = read_identity(here.folder)
    assert now is not None
    assert now.id != earlier.id


def left_in(folder: Path) -> list[str]:
    passing = {"driver.lock", "requests"}
    return sorted(path.name for path in folder.iterdir() if path.name not in passing)

"""A working directory may be moved or copied: everything is found in the new place, and nothing made in the old one."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import mlflow
import pytest

from sweeper.errors import ForeignStudy, StudyChanged, StudyError, TrackingRefused
from sweeper.files import write_whole
from sweeper.study.card import read_card
from sweeper.study.continue_from import fetch_start
from sweeper.study.place import read_identity
from sweeper.study.source import find_source
from sweeper.tracking.relocation import old_places, relocate
from sweeper.upkeep.machine_check import examine_machine
from sweeper.upkeep.sync import sync_study
from tests.field.folders import Here, content, runs
from tests.pictures import write_split_folders


@pytest.fixture
def moved(here: Here, tmp_path: Path) -> Here:
    """A study of one trial whose folder was moved afterwards."""
    here.run(1)
    return here.moved(tmp_path / "moved")


def test_every_command_finds_what_it_needs_in_the_new_place_and_leaves_the_old_one_alone(
    moved: Here, here: Here, tmp_path: Path
) -> None:
    assert moved.weights_of(0, tmp_path / "fetched") == b"here"
    assert moved.run(2).undelivered == 0
    assert moved.weights_of(1, tmp_path / "second") == b"here"
    assert sync_study(moved.workspace, moved.storage, "s", None) == 0
    source = find_source(moved.workspace, moved.storage, "s/0", None)
    fetch_start(moved.workspace, moved.storage, source, "t", with_optimizer=False, tracking_uri=None)
    assert moved.workspace.study("t").start.weights.read_bytes() == b"here"
    assert moved.wrong() == []
    assert not here.root.exists()


def test_a_study_goes_on_when_its_images_alone_were_moved_and_not_on_others(here: Here) -> None:
    here.run(1)
    (here.root / "images").rename(here.root / "moved")
    write_split_folders(here.root / "others", train=2, val=1)
    with pytest.raises(StudyChanged, match="the images of others have changed since the study s began"):
        here.run(2, dataset={"path": "others"})
    assert here.store.sweep.dataset.path == "images"
    assert len(here.run(2, dataset={"path": "moved"}).rows) == 2
    assert here.store.sweep.dataset.path == "moved"


def test_nothing_that_a_study_keeps_names_the_folder_it_lies_in(here: Here) -> None:
    here.run(1)
    naming = [path for path, told in content(here.root).items() if str(here.root).encode() in told]
    own = [here.folder.identity, here.workspace.optuna_database, here.workspace.mlflow_database]
    assert {here.root / path for path in naming} <= set(
        own
    )  # where it was when it was last run; MLflow's own addresses


def test_the_doctor_sees_a_moved_folder_changes_nothing_and_repairs_it_when_asked_to(moved: Here, here: Here) -> None:
    before = content(moved.root)
    examine_machine(moved.workspace, moved.storage, moved.tracking)
    was, files = moved.wrong()
    assert was == (f"this folder was {here.root} when the study s was last run; its records are looked up here now")
    assert (
        files
        == f"the files of runs are looked for in {here.root / 'mlruns'}, from where this folder was moved or copied"
    )
    assert content(moved.root) == before
    assert moved.wrong(fix=True) == []
    assert moved.wrong() == []
    identity = read_identity(moved.folder)
    assert identity is not None
    assert identity.place.folder == str(moved.root)
    assert not here.root.exists()


def test_files_that_are_gone_are_reported(here: Here, tmp_path: Path) -> None:
    here.run(1)
    (here.root / "mlruns").rename(tmp_path / "elsewhere")
    (what,) = here.wrong()
    assert "the files of trial 0 are not in" in what
    with pytest.raises(StudyError, match=r"trial 0 of s has no weights in its MLflow run .* bring them back"):
        here.weights_of(0, tmp_path / "fetched")


def test_a_folder_copied_to_another_machine_is_a_working_folder(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.run(1)
    there = here.copied(tmp_path / "there")
    here.moved(tmp_path / "kept on the first machine")
    monkeypatch.setattr("sweeper.study.place.socket.gethostname", lambda: "another")
    assert there.weights_of(0, tmp_path / "fetched") == b"here"
    assert there.run(2).undelivered == 0
    assert there.wrong() == []
    assert not here.root.exists()


def test_a_copy_without_the_files_of_runs_does_not_write_into_the_original(here: Here, tmp_path: Path) -> None:
    here.run(1)
    copy = here.copied(tmp_path / "a copy")
    shutil.rmtree(copy.root / "mlruns")
    before = content(here.root)
    with pytest.raises(TrackingRefused, match=r"a copy of .* and new files would go into the original") as error:
        copy.run(2)
    assert content(here.root) == before
    advised = "cp" + str(error.value).partition(": cp")[2]
    subprocess.run(shlex.split(advised), check=True)
    assert copy.run(2).undelivered == 0
    assert content(here.root) == before


def test_a_storage_outside_the_folder_knows_the_folder_again_after_a_move(
    here: Here, tmp_path: Path, server: str
) -> None:
    storage = f"sqlite:///{tmp_path / 'server' / 'optuna.db'}"
    here.run(1, storage=storage, tracking=server)
    moved = here.moved(tmp_path / "moved")
    assert moved.run(2, storage=storage, tracking=server).undelivered == 0
    copy = moved.copied(tmp_path / "copy")
    with pytest.raises(ForeignStudy, match=r"is a copy, and the study s in this storage belongs to the original"):
        copy.run(3, storage=storage, tracking=server)
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]


def test_records_of_an_earlier_version_that_name_the_old_folder_are_found_in_the_new_one(
    here: Here, tmp_path: Path
) -> None:
    here.run(1)
    card = read_card(here.folder)
    assert card is not None
    whole = card.model_copy(update={"tracking_uri": f"sqlite:///{here.root / 'mlflow.db'}"})
    write_whole(here.folder.card, whole.model_dump_json())
    moved = here.moved(tmp_path / "moved")
    assert moved.weights_of(0, tmp_path / "fetched") == b"here"
    assert moved.run(2).undelivered == 0
    assert json.loads(moved.folder.card.read_text())["tracking_uri"] == "sqlite:///mlflow.db"
    assert not here.root.exists()


def test_mlflow_finds_models_and_versions_of_a_moved_folder(here: Here, tmp_path: Path) -> None:
    here.run(1)
    client = mlflow.MlflowClient(here.tracking)
    run = runs(here.tracking)["trial-0000"]
    client.create_registered_model("s")
    client.create_model_version("s", source=run.info.artifact_uri, run_id=run.info.run_id)
    moved = here.moved(tmp_path / "moved")
    database = moved.workspace.mlflow_database
    assert old_places(database) == [here.root / "mlruns"]
    assert relocate(database) == [here.root / "mlruns"]
    assert old_places(database) == relocate(database) == []
    client = mlflow.MlflowClient(moved.tracking)
    (version,) = client.search_model_versions("name = 's'")
    assert version.source == runs(moved.tracking)["trial-0000"].info.artifact_uri
    assert str(version.source).startswith((moved.root / "mlruns").as_uri())


def test_experiments_whose_files_lie_elsewhere_on_purpose_keep_their_place(here: Here, tmp_path: Path) -> None:
    here.run(1)
    kept = tmp_path / "big disk" / "mlruns"
    (kept / "other").mkdir(parents=True)
    client = mlflow.MlflowClient(here.tracking)
    client.create_experiment("other", artifact_location=(kept / "other").as_uri())
    client.create_experiment("cloud", artifact_location="s3://bucket/mlruns/cloud")
    moved = here.moved(tmp_path / "moved")
    relocate(moved.workspace.mlflow_database)
    client = mlflow.MlflowClient(moved.tracking)
    places = {one.name: one.artifact_location for one in client.search_experiments()}
    assert places["other"] == (kept / "other").as_uri()
    assert places["cloud"] == "s3://bucket/mlruns/cloud"


def test_files_that_an_earlier_version_wrote_to_the_old_place_after_a_move_are_found_there(
    here: Here, tmp_path: Path
) -> None:
    here.run(2)
    left = runs(here.tracking)["trial-0001"].info.run_id
    moved = here.moved(tmp_path / "moved")
    (here.root / "mlruns" / "s").mkdir(parents=True)
    (moved.root / "mlruns" / "s" / left).rename(here.root / "mlruns" / "s" / left)
    assert moved.weights_of(0, tmp_path / "first") == b"here"
    assert moved.weights_of(1, tmp_path / "second") == b"here"


def test_a_folder_moved_while_its_records_wait_delivers_them_from_the_new_place(here: Here, tmp_path: Path) -> None:
    assert here.run(1, tracking="http://127.0.0.1:9").undelivered > 0
    moved = here.moved(tmp_path / "moved")
    assert sync_study(moved.workspace, moved.storage, "s", moved.tracking) == 1
    assert moved.weights_of(0, tmp_path / "fetched", moved.tracking) == b"here"
    assert not here.root.exists()

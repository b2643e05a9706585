"""Records of two studies never mix: not on one server, not in one storage, not in a copy, not after a deletion."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import Event
from sweeper.errors import ForeignStudy, StudyError, StudyLocked, StudyTakenOver, TrackingRefused
from sweeper.identity import Identity
from sweeper.results import TrialSpec
from sweeper.search import lease
from sweeper.search.lease import Holder
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import find_run
from sweeper.study.extending import extend_study
from sweeper.study.place import read_identity
from sweeper.study.recorded import recorded_as
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.model_registry import ModelRegistry, ServableExport
from sweeper.tracking.tags import ID_TAG
from sweeper.upkeep.sync import sync_study
from tests.field.folders import Here, content, points, runs
from tests.functional.answer import Ask, ask

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture


@pytest.fixture
def anna(tmp_path: Path, created: Path) -> Here:
    return Here.made(tmp_path / "anna", created)


@pytest.fixture
def ben(tmp_path: Path, created: Path) -> Here:
    return Here.made(tmp_path / "ben", created)


def identity_of(here: Here) -> Identity:
    found = read_identity(here.folder)
    assert found is not None
    return found


def test_a_study_has_one_id_in_its_folder_its_storage_its_experiment_and_all_its_runs(here: Here) -> None:
    here.run(2)
    known = identity_of(here)
    assert here.store.identity == known
    found = runs(here.tracking)
    assert sorted(found) == ["s", "trial-0000", "trial-0001"]
    assert {run.data.tags[ID_TAG] for run in found.values()} == {known.id}
    experiment = mlflow.MlflowClient(here.tracking).get_experiment_by_name("s")
    assert experiment is not None
    assert experiment.tags[ID_TAG] == known.id


@pytest.mark.parametrize("seed", [0, 1])
def test_a_study_of_the_same_name_in_another_folder_is_refused_and_nothing_is_written(
    anna: Here, ben: Here, server: str, tmp_path: Path, seed: int
) -> None:
    anna.run(tracking=server)
    before, records = content(ben.root), {name: dict(run.data.tags) for name, run in runs(server).items()}
    whose = rf"study s on this server belongs to another folder \(id {identity_of(anna).id}, \w+ on \S+, since 20"
    with pytest.raises(TrackingRefused, match=rf"{whose}.*another `study:` name, .*--tracking-name NAME"):
        ben.run(tracking=server, seed=seed)
    assert content(ben.root) == before
    assert {name: dict(run.data.tags) for name, run in runs(server).items()} == records
    assert anna.weights_of(0, tmp_path / "fetched", server) == b"anna"


def test_another_name_in_mlflow_keeps_both_apart(anna: Here, ben: Here, server: str, tmp_path: Path) -> None:
    anna.run(tracking=server)
    assert ben.run(tracking=server, name="bens").undelivered == 0
    for run in (runs(server)["trial-0000"], runs(server, "bens")["trial-0000"]):
        assert points(server, run.info.run_id) == [1, 2]
    assert anna.weights_of(0, tmp_path / "a", server) == b"anna"
    assert ben.weights_of(0, tmp_path / "b", server) == b"ben"
    assert ben.run(2, tracking=server).undelivered == 0  # found by its id, whatever it is called
    assert sorted(runs(server, "bens")) == ["s", "trial-0000", "trial-0001"]


def test_the_alias_of_a_registered_model_is_never_moved_by_another_study(
    anna: Here, ben: Here, server: str, tmp_path: Path
) -> None:
    anna.run(tracking=server)
    ben.run(tracking=server, name="bens")
    export = ServableExport([], tmp_path, "d", classes=2, image_size=8, description="", tags={})
    client = mlflow.MlflowClient(server)
    client.create_registered_model("s", tags={ID_TAG: identity_of(anna).id})
    made = client.create_model_version("s", source=(tmp_path / "m").as_uri())
    client.set_registered_model_alias("s", "best", made.version)
    run = runs(server, "bens")["trial-0000"].info.run_id
    with pytest.raises(TrackingRefused, match=r"the model s in the registry .* belongs to another study \(id"):
        ModelRegistry(MlflowStore(server, ben.workspace)).register("s", run, export, identity_of(ben).id)
    assert [version.version for version in client.search_model_versions("name = 's'")] == [made.version]


def test_one_storage_is_one_folders(anna: Here, ben: Here) -> None:
    anna.run(1)
    before = content(ben.root)
    with pytest.raises(ForeignStudy, match=rf"belongs to another folder \(id .*{anna.root}, since"):
        ben.run(2, storage=anna.storage)
    assert content(ben.root) == before
    assert len(anna.store.rows()) == 1
    assert f"now belongs to this folder, no longer to {anna.root} of" in ben.adopt(storage=anna.storage)[0]
    ben.run(2, storage=anna.storage)
    with pytest.raises(ForeignStudy, match=r"belongs to another folder"):
        anna.run(3, storage=f"{anna.storage}?timeout=20")
    assert [row.number for row in anna.store.rows()] == [0, 1]


def test_a_study_that_is_being_run_is_not_adopted(anna: Here, ben: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOK_S", 0.02)
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    refused: list[str] = []

    def meanwhile(spec: TrialSpec) -> Iterator[Event]:
        with pytest.raises(StudyLocked, match=r"is being run by process \d+") as error:
            ben.adopt(storage=anna.storage)
        refused.append(str(error.value))
        yield from anna.trains(spec)

    anna.run(1, script=meanwhile)
    assert len(refused) == 1
    assert not ben.folder.identity.exists()
    assert anna.run(2).undelivered == 0
    with pytest.raises(ForeignStudy):
        ben.run(2, storage=anna.storage)


def test_a_driver_that_another_has_taken_over_from_stops_at_its_next_write(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 0.2)
    monkeypatch.setattr(lease, "LOOK_S", 0.02)
    monkeypatch.setattr(lease, "RENEW_S", 3600.0)

    def is_stopped_for_long(spec: TrialSpec) -> Iterator[Event]:
        for event in here.trains(spec):
            if spec.number == 1:
                with here.store.held(Holder(process=2, host="h", user="u", place="p"), lambda _: False):
                    pass
            yield event

    with pytest.raises(StudyTakenOver, match=r"taken over .* this process writes nothing more"):
        here.run(3, script=is_stopped_for_long)
    assert [row.state.value for row in here.store.rows()] == ["complete", "running"]
    here.run(3)
    assert [row.state.value for row in here.store.rows()] == ["complete"] * 3
    assert sorted(runs(here.tracking)) == ["s", "trial-0000", "trial-0001", "trial-0002"]


def test_a_copy_of_a_folder_is_a_study_by_itself_in_its_own_databases(here: Here, tmp_path: Path) -> None:
    here.run(1)
    before = content(here.root)
    copy = dataclasses.replace(here.copied(tmp_path / "copy"), weights=b"copy")
    assert copy.run(2).undelivered == 0
    assert content(here.root) == before
    assert copy.weights_of(0, tmp_path / "first") == b"here"
    assert copy.weights_of(1, tmp_path / "second") == b"copy"
    here.run(2)
    assert here.weights_of(1, tmp_path / "third") == b"here"
    assert copy.weights_of(1, tmp_path / "fourth") == b"copy"
    assert copy.wrong() == here.wrong() == []


def test_a_copy_does_not_write_to_the_server_of_the_original_until_it_is_asked_to(
    here: Here, server: str, tmp_path: Path
) -> None:
    here.run(1, tracking=server)
    copy = here.copied(tmp_path / "copy")
    with pytest.raises(TrackingRefused, match=r"recorded from another folder .* this folder is a copy of that one"):
        copy.run(2, tracking=server)
    assert sorted(runs(server)) == ["s", "trial-0000"]
    (known, refused) = copy.wrong()
    assert "records of s on a server stay the original's" in known
    assert "this folder is a copy of that one" in refused
    assert f"now belongs to this folder, no longer to {here.root} of" in copy.adopt()[0]
    copy.run(2, tracking=server)
    with pytest.raises(TrackingRefused, match=r"recorded from another folder .* or that one has taken the study over"):
        here.run(2, tracking=server)
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]


def test_a_study_begun_again_after_its_storage_was_deleted_is_another_study(here: Here, tmp_path: Path) -> None:
    here.run(2)
    old = identity_of(here).id
    here.workspace.optuna_database.unlink()
    before = content(here.root)
    with pytest.raises(TrackingRefused, match=rf"belongs to an earlier study of this folder \(id {old}, .*"):
        here.run(1)
    assert content(here.root) == before
    result = here.run(1, name="again")
    assert result.undelivered == 0
    assert identity_of(here).id != old
    assert (here.workspace.earlier_study("s", old) / here.folder.card.relative_to(here.folder.path)).exists()
    assert sorted(runs(here.tracking)) == ["s", "trial-0000", "trial-0001"]
    assert sorted(runs(here.tracking, "again")) == ["s", "trial-0000"]


def test_a_study_begun_again_is_distinguished_from_that_of_another_folder_on_a_server_too(
    anna: Here, ben: Here, server: str, tmp_path: Path
) -> None:
    anna.run(1, tracking=server)
    old = identity_of(anna).id
    anna.workspace.optuna_database.unlink()
    with pytest.raises(TrackingRefused, match=rf"belongs to an earlier study of this folder \(id {old}, .*"):
        anna.run(1, tracking=server)
    moved = Here(anna.root.rename(tmp_path / "moved"))
    with pytest.raises(TrackingRefused, match=rf"belongs to an earlier study of this folder \(id {old}, .*"):
        moved.run(1, tracking=server)
    with pytest.raises(TrackingRefused, match=rf"belongs to another folder \(id {old}, .*"):
        ben.run(1, tracking=server)
    assert sorted(runs(server)) == ["s", "trial-0000"]


@pytest.mark.parametrize("command", ["doctor s", "status s", "best s"])
def test_a_storage_that_was_deleted_is_missed_and_not_taken_for_one_that_never_was(
    here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(here.root)
    assert "optuna.db" in (before := ask(*command.split()).err)
    assert "`sweeper run` creates it" in before
    here.run(1)
    here.workspace.optuna_database.unlink()
    answer = ask(*command.split())
    assert answer.code == 4
    assert "which held the trials of s: bring the file back" in answer.err


def test_a_renamed_experiment_is_found_by_its_id(here: Here, tmp_path: Path) -> None:
    here.run(1)
    client = mlflow.MlflowClient(here.tracking)
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    client.rename_experiment(experiment.experiment_id, "flowers, final")
    assert here.run(2).undelivered == 0
    assert client.get_experiment_by_name("s") is None
    assert sorted(runs(here.tracking, "flowers, final")) == ["s", "trial-0000", "trial-0001"]
    assert here.weights_of(1, tmp_path / "fetched") == b"here"
    assert here.wrong() == []


def test_a_deleted_experiment_is_refused_with_what_restores_it_and_then_goes_on(here: Here, tmp_path: Path) -> None:
    here.run(1)
    client = mlflow.MlflowClient(here.tracking)
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingRefused, match=rf"deleted: .*restore --experiment-id {experiment.experiment_id}"):
        here.run(2)
    assert len(here.store.rows()) == 1
    with pytest.raises(TrackingRefused, match=rf"restore --experiment-id {experiment.experiment_id}"):
        here.weights_of(0, tmp_path / "fetched")
    client.restore_experiment(experiment.experiment_id)
    assert here.run(2).undelivered == 0
    assert sorted(runs(here.tracking)) == ["s", "trial-0000", "trial-0001"]


def test_an_extended_study_is_the_same_study(here: Here) -> None:
    here.run(1)
    known = identity_of(here)
    edited = SweepConfig.model_validate(
        {
            **here.sweep(3).model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "search": {"backbone": "r", "image_size": 8, "weight_decay": {"float": [0, 2]}},
        }
    )
    extend_study(here.workspace, here.storage, edited)
    assert here.store.identity == known
    assert here.run(3, search=edited.model_dump(mode="json", by_alias=True)["search"]).undelivered == 0
    assert {run.data.tags[ID_TAG] for run in runs(here.tracking).values()} == {known.id}


def forget_ids(here: Here, uri: str) -> None:
    """Make a study one that an earlier version of sweeper has run."""
    store = here.store
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_user_attributes WHERE key IN ('identity', 'lease', 'card')")
    here.folder.identity.unlink()
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    for run in runs(uri).values():
        client.delete_tag(run.info.run_id, ID_TAG)
    with MlflowStore(uri, here.workspace).client() as opened:
        for tag in [tag for tag in experiment.tags if tag.startswith("sweeper.")]:
            opened.delete_experiment_tag(experiment.experiment_id, tag)


def test_a_study_of_an_earlier_version_gets_an_id_and_its_records_are_continued(
    anna: Here, ben: Here, server: str, tmp_path: Path
) -> None:
    anna.run(1, tracking=server)
    forget_ids(anna, server)
    with pytest.raises(TrackingRefused, match=r"recorded from another folder, by an earlier version of sweeper"):
        ben.run(1, tracking=server)
    assert anna.weights_of(0, tmp_path / "fetched", server) == b"anna"  # before it has an id
    assert anna.run(2, tracking=server).undelivered == 0
    known = identity_of(anna)
    assert known.adopted
    assert {run.data.tags.get(ID_TAG) for run in runs(server).values()} == {known.id}
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]
    assert anna.wrong() == []


def test_a_stored_study_of_an_earlier_version_is_not_taken_by_a_folder_that_never_ran_it(anna: Here, ben: Here) -> None:
    anna.run(1)
    forget_ids(anna, anna.tracking)
    with pytest.raises(ForeignStudy, match=r"begun in another folder, by an earlier version.*doctor s --adopt"):
        ben.run(2, storage=anna.storage)


def test_what_waits_on_disk_is_delivered_under_another_name_where_the_name_is_taken(
    anna: Here, ben: Here, server: str, tmp_path: Path
) -> None:
    assert ben.run(1, tracking="http://127.0.0.1:9").undelivered > 0
    anna.run(1, tracking=server)
    with pytest.raises(TrackingRefused, match=r"study s on this server belongs to another folder"):
        sync_study(ben.workspace, ben.storage, "s", server)
    assert sync_study(ben.workspace, ben.storage, "s", server, "bens") == 1
    assert ben.run(1, tracking=server).undelivered == 0
    assert recorded_as(ben.workspace, ben.store).called == "bens"  # as its model will be, too
    assert sorted(runs(server, "bens")) == ["s", "trial-0000"]
    assert ben.weights_of(0, tmp_path / "fetched", server) == b"ben"


def test_who_exports_from_the_storage_of_another_folder_is_shown_that_folder(anna: Here, ben: Here) -> None:
    anna.run(1)
    store = StudyStore.load(anna.storage, "s")
    with pytest.raises(StudyError, match=rf"run the command in the folder of the study, {anna.root} of "):
        find_run(ben.workspace, store, store.rows()[0], None)

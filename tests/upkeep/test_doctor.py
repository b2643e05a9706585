"""The doctor finds what disagrees between Optuna, MLflow and the disk, and repairs it; on real stores."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import mlflow
import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.confirm.repetitions import STORED, Repetition
from sweeper.errors import DamagedFile, StudyLocked
from sweeper.files import write_sealed, write_whole
from sweeper.identity import Identity
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import Repeats, TrialOutcome, TrialState, read_outcome, read_spec
from sweeper.search.study_store import StudyStore
from sweeper.study.lock import is_running, study_lock
from sweeper.study.place import place_here
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.run_listing import ListedRun
from sweeper.tracking.tags import STUDY_TAG
from sweeper.upkeep.damage import damaged_files
from sweeper.upkeep.doctor import examine_study
from sweeper.upkeep.finding import Finding
from sweeper.upkeep.machine_check import examine_machine
from sweeper.upkeep.run_check import _Check
from sweeper.upkeep.sync import sync_study
from tests.field.answers import server_that_answers
from tests.search.asking import next_trial
from tests.tracking.test_delivery import CARD, write_trial

TRIALS = 2


@pytest.fixture
def url(workspace: Workspace) -> str:
    return f"sqlite:///{workspace.optuna_database}"


@pytest.fixture
def folder(workspace: Workspace) -> StudyFolder:
    return workspace.study("s")


@pytest.fixture
def client(workspace: Workspace) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(default_tracking_uri(workspace))


@pytest.fixture
def store(workspace: Workspace, url: str) -> StudyStore:
    content: dict[str, Any] = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"trials": TRIALS + 1, "epochs": 3},
        "search": {"backbone": "r", "drop_rate": {"float": [0, 0.5]}},
    }
    return StudyStore.create_or_load(url, SweepConfig.model_validate(content))


@pytest.fixture
def delivery(workspace: Workspace, folder: StudyFolder) -> Delivery:
    uri = default_tracking_uri(workspace)
    card = StudyCard(study="s", tracking_uri=uri, start_ms=1000, params={}, tags={}, dataset=CARD)
    write_whole(folder.card, card.model_dump_json())
    return Delivery(MlflowStore(uri, workspace), folder, card)


@pytest.fixture
def finished(store: StudyStore, delivery: Delivery, folder: StudyFolder) -> StudyStore:
    """A study with two trials that have ended, delivered."""
    for number in range(TRIALS):
        end_trial(store, folder)
        delivery.deliver_trial(folder.trial(number), ended=True, running=False)
    delivery.deliver_sweep("FINISHED")
    return store


def end_trial(store: StudyStore, folder: StudyFolder) -> int:
    spec = next_trial(store)
    assert spec is not None
    for epoch in range(1, 4):
        store.report(spec.number, epoch, epoch / 10)
    write_trial(folder.trial(spec.number), 3, TrialState.COMPLETE)
    outcome = TrialOutcome.model_validate_json(folder.trial(spec.number).outcome.read_bytes())
    store.finish(spec.number, outcome)
    return spec.number


def wrong(workspace: Workspace, url: str, *, fix: bool = False) -> list[str]:
    return [f.what for f in examine_study(workspace, url, "s", None, fix=fix) if not f.sound]


def require_mended(workspace: Workspace, url: str, expected: str) -> None:
    """The doctor reports it twice, repairs it when asked to, and then finds nothing."""
    assert any(expected in what for what in wrong(workspace, url))
    assert any(expected in what for what in wrong(workspace, url))
    assert wrong(workspace, url, fix=True) == []
    assert wrong(workspace, url) == []


def runs(client: mlflow.MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_sound_study_is_found_sound(workspace: Workspace, url: str, finished: StudyStore) -> None:
    (finding,) = examine_study(workspace, url, "s", None, fix=True)
    assert finding == Finding("study", "the trials, runs and files of s agree")


def test_a_run_left_open_is_closed_as_its_trial_ended(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    client.update_run(runs(client)["trial-0001"].info.run_id, status="RUNNING")
    require_mended(workspace, url, "trial-0001 is marked as running")
    assert runs(client)["trial-0001"].info.status == "FINISHED"


def test_a_run_of_another_tool_that_was_left_open_is_closed(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    client.create_run(experiment.experiment_id, run_name="notebook")
    require_mended(workspace, url, "notebook is marked as running")
    assert runs(client)["notebook"].info.status == "KILLED"


def test_a_confusion_matrix_that_a_spreadsheet_has_changed_holds_up_no_delivery(
    workspace: Workspace,
    url: str,
    store: StudyStore,
    delivery: Delivery,
    folder: StudyFolder,
    client: mlflow.MlflowClient,
) -> None:
    delivery.deliver_sweep("RUNNING")
    for _ in range(2):
        end_trial(store, folder)
    matrix = folder.trial(0).confusion / "best.csv"
    matrix.write_text(matrix.read_text().replace(",", ";"))
    with pytest.raises(DamagedFile, match=r"holds no confusion matrix of sweeper.*--fix removes it"):
        sync_study(workspace, url, "s", None)
    assert runs(client)["trial-0001"].info.status == "FINISHED", "the others are delivered"
    require_mended(workspace, url, "holds no confusion matrix of sweeper")


def test_a_trial_without_a_run_gets_one(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    client.delete_run(runs(client)["trial-0000"].info.run_id)
    require_mended(workspace, url, "trial 0 has no run")
    run = runs(client)["trial-0000"]
    assert (run.info.status, run.data.metrics["best/val/accuracy"]) == ("FINISHED", 0.3)


def test_a_run_that_is_there_twice_is_kept_once(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    original = runs(client)["trial-0000"]
    tags = {key: original.data.tags[key] for key in ("sweeper.study", "sweeper.trial")}
    twin = client.create_run(original.info.experiment_id, tags=tags, run_name="trial-0000")
    client.set_terminated(twin.info.run_id)
    require_mended(workspace, url, "trial-0000 is there twice")
    assert runs(client)["trial-0000"].info.run_id == original.info.run_id


def test_what_was_not_delivered_is_delivered(
    workspace: Workspace, url: str, finished: StudyStore, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    number = end_trial(finished, folder)
    folder.trial(number).outcome.unlink()  # and is written again from what Optuna knows
    require_mended(workspace, url, "trial 2 has not been delivered completely")
    assert runs(client)["trial-0002"].info.status == "FINISHED"
    assert folder.trials() == []


def test_a_trial_left_running_by_a_dead_driver_is_put_back_in_the_queue(
    workspace: Workspace, url: str, finished: StudyStore
) -> None:
    assert next_trial(finished) is not None
    require_mended(workspace, url, "trial 2 is marked as running")
    assert StudyStore.load(url, "s").rows()[2].state is TrialState.WAITING


def test_folders_and_checkpoints_that_belong_to_nothing_are_removed(
    workspace: Workspace, url: str, finished: StudyStore, folder: StudyFolder
) -> None:
    write_whole(folder.trial(99).checkpoint, b"orphan")
    write_whole(folder.trial(98).delivered / "weights", b"rest")
    what = "\n".join(wrong(workspace, url))
    assert "trial-0099 belongs to no trial" in what
    assert "delivered-0098 is half removed" in what
    assert wrong(workspace, url, fix=True) == []
    assert folder.trials() == []
    assert folder.delivered() == []


def test_what_a_killed_reproduction_has_left_is_removed(workspace: Workspace, url: str, finished: StudyStore) -> None:
    left = workspace.reproduction("killed")
    left.mkdir()
    require_mended(workspace, url, "left of a `sweeper reproduce` that was killed")
    assert not left.exists()


def test_a_checkpoint_of_an_ended_trial_is_found(
    workspace: Workspace, url: str, finished: StudyStore, folder: StudyFolder
) -> None:
    number = end_trial(finished, folder)
    write_whole(folder.trial(number).checkpoint, b"late")
    write_whole(folder.trial(number).leading_of(1), b"late")
    require_mended(workspace, url, "trial 2 has ended and has files to go on from")
    assert not folder.trial(number).leading_of(1).exists()


def test_a_study_that_is_being_run_is_left_alone(workspace: Workspace, url: str, finished: StudyStore) -> None:
    with study_lock(workspace.study("s"), "s"), pytest.raises(StudyLocked):
        examine_study(workspace, url, "s", None, fix=True)


def test_a_server_that_is_down_is_a_finding_with_a_remedy(workspace: Workspace, url: str, finished: StudyStore) -> None:
    findings = examine_study(workspace, url, "s", "http://user:secret@127.0.0.1:9", fix=True)
    (down,) = [finding for finding in findings if not finding.sound]
    assert down.subject == "MLflow"
    assert "secret" not in down.what


def test_the_machine_is_examined(workspace: Workspace, url: str, store: StudyStore) -> None:
    findings = {f.subject: f for f in examine_machine(workspace, url, default_tracking_uri(workspace))}
    assert set(findings) == {"versions", "device", "disk", "memory", "storage", "tracking"}
    assert findings["storage"].sound
    assert findings["tracking"].sound
    away = {f.subject: f for f in examine_machine(workspace, "sqlite:////nowhere/o.db", "http://127.0.0.1:9")}
    assert not away["storage"].sound
    assert not away["tracking"].sound


def test_a_server_that_refuses_is_not_to_be_started_but_given_what_it_asks_for(workspace: Workspace, url: str) -> None:
    with server_that_answers(401) as uri:
        found = {finding.subject: finding for finding in examine_machine(workspace, url, uri)}["tracking"]
    assert "MLFLOW_TRACKING_USERNAME" in found.what
    assert str(found.remedy).startswith("do what it says")


def test_of_two_runs_of_a_trial_the_one_that_ended_stays(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    whole = runs(client)["trial-0000"]
    tags = {key: value for key, value in whole.data.tags.items() if key.startswith("sweeper.")}
    begun = {"start_time": whole.info.start_time, "run_name": "trial-0000"}
    for _ in range(4):  # the ids of runs are chance, and so is the order of those that began at the same time
        client.create_run(whole.info.experiment_id, tags=tags, **begun)
    require_mended(workspace, url, "the run trial-0000 is there twice")
    left = [run for run in client.search_runs([whole.info.experiment_id]) if run.info.run_name == "trial-0000"]
    assert [run.info.run_id for run in left] == [whole.info.run_id]


def test_a_parent_run_that_was_deleted_is_made_anew_above_its_trials(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    client.delete_run(runs(client)["s"].info.run_id)
    require_mended(workspace, url, "the study has no parent run")
    found = runs(client)
    parents = {found[f"trial-{number:04d}"].data.tags["mlflow.parentRunId"] for number in range(TRIALS)}
    assert parents == {found["s"].info.run_id}


def test_a_run_of_another_study_is_left_open(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    tags = {"sweeper.study_id": "another", "sweeper.trial": "0"}
    run = client.create_run(experiment.experiment_id, run_name="neighbour", tags=tags)
    assert wrong(workspace, url, fix=True) == []
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_weights_that_are_gone_are_reported(
    workspace: Workspace, url: str, finished: StudyStore, client: mlflow.MlflowClient
) -> None:
    files = Path(runs(client)["trial-0001"].info.artifact_uri.removeprefix("file://"))
    shutil.rmtree(files / "weights")
    assert any("the weights of trial 1 are not in" in what for what in wrong(workspace, url))


def test_a_run_that_was_closed_is_open_again_when_its_trial_goes_on(
    workspace: Workspace, url: str, finished: StudyStore, delivery: Delivery, client: mlflow.MlflowClient
) -> None:
    folder = workspace.study("s")
    spec = next_trial(finished)
    assert spec is not None
    write_trial(folder.trial(spec.number), 2)
    delivery.deliver_trial(folder.trial(spec.number), ended=False, running=True)
    delivery.deliver_sweep("RUNNING")
    assert wrong(workspace, url, fix=True) == []
    assert {runs(client)[name].info.status for name in ("s", "trial-0002")} == {"KILLED"}
    card = StudyCard.model_validate_json(folder.card.read_bytes())
    again = Delivery(MlflowStore(card.tracking_uri, workspace), folder, card)
    again.deliver_trial(folder.trial(spec.number), ended=False, running=True)
    assert {runs(client)[name].info.status for name in ("s", "trial-0002")} == {"RUNNING"}


def test_a_run_that_is_made_late_has_the_time_of_its_trial(
    workspace: Workspace, url: str, store: StudyStore, delivery: Delivery, client: mlflow.MlflowClient
) -> None:
    folder = workspace.study("s")
    number = end_trial(store, folder)
    outcome = TrialOutcome.model_validate_json(folder.trial(number).outcome.read_bytes())
    write_whole(folder.trial(number).outcome, outcome.model_copy(update={"seconds": 7.0}).model_dump_json())
    delivery.deliver_trial(folder.trial(number), ended=True, running=False)
    info = runs(client)["trial-0000"].info
    assert info.end_time - info.start_time == 7000


def test_files_of_a_confirmation_and_of_folds_are_looked_at(
    workspace: Workspace, url: str, finished: StudyStore
) -> None:
    folder = workspace.study("s")
    for path in (folder.confirmation.card, folder.confirmation.parent_run):
        write_whole(path, b"{")
        require_mended(workspace, url, path.name)
    spec = next_trial(finished)
    assert spec is not None
    write_trial(folder.trial(spec.number), 2)
    write_whole(folder.trial(spec.number).fold(1).history, b"[{")
    require_mended(workspace, url, "history.json")


def test_files_of_a_repetition_that_has_ended_are_made_anew_from_its_results(
    workspace: Workspace, finished: StudyStore
) -> None:
    confirmation = workspace.study("s").confirmation
    outcome = TrialOutcome(state=TrialState.COMPLETE, best_value=0.5, best_epoch=1, epochs=3)
    one = Repetition(number=0, repeats=Repeats(trial=1, seed_number=2), outcome=outcome, ended_ms=1)
    write_sealed(confirmation.repetitions, STORED.dump_json([one]))
    trial = confirmation.trial(0)
    write_whole(trial.outcome, b"{")
    found = list(damaged_files(workspace, finished, None))
    assert [finding.what.partition(" is ")[2][:7] for finding in found] == ["missing", "damaged"]
    for finding in found:
        assert finding.repair is not None
        finding.repair()
    assert read_outcome(trial.outcome) == outcome
    assert read_spec(trial.spec).repeats == one.repeats
    assert list(damaged_files(workspace, finished, None)) == []


@pytest.mark.parametrize(("adopted", "own"), [(False, []), (True, ["earlier"])])
def test_runs_without_an_id_are_those_of_a_study_that_had_none_when_they_were_made(
    workspace: Workspace, finished: StudyStore, folder: StudyFolder, adopted: bool, own: list[str]
) -> None:
    """Where all runs of the study were deleted from the experiment, a neighbour's run in it stays the neighbour's."""
    identity = Identity(id="0" * 12, place=place_here(workspace, folder), adopted=adopted)
    card = StudyCard(study="s", tracking_uri="x", start_ms=1, params={}, tags={}, dataset=CARD, identity=identity)
    mlflow_here = MlflowStore(default_tracking_uri(workspace), workspace)
    tags: dict[str, dict[str, str]] = {"neighbour": {}, "earlier": {STUDY_TAG: "s"}, "other": {STUDY_TAG: "t"}}
    listed = [ListedRun(name, name, "RUNNING", "", given) for name, given in tags.items()]
    assert [run.id for run in _Check(workspace, finished, card, mlflow_here, listed).own] == own


def test_who_asks_whether_a_study_runs_keeps_nobody_from_running_it(workspace: Workspace) -> None:
    folder, stop = workspace.study("s"), threading.Event()
    with study_lock(folder, "s"):
        pass

    def ask() -> None:
        while not stop.is_set():
            is_running(folder)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(200):
            with study_lock(folder, "s"):
                pass
    finally:
        stop.set()
        asking.join()

"""Folders on disk become MLflow runs, whatever happens on the way; on a real SQLite store."""

from __future__ import annotations

import json
import threading
from typing import Any

import mlflow
import numpy as np
import pytest

from sweeper.errors import TrackingError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.scores.confusion import write_confusion
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.outbox import LAST_TRY_S, AwakeClock, DeliveryPhase, Outbox, Patience
from sweeper.tracking.study_records import Recorded, StudyRecords

CARD = {"name": "digits", "digest": "abc", "source": "digits", "profile": {"images": {"train": 3}}}


@pytest.fixture
def folder(workspace: Workspace) -> StudyFolder:
    return workspace.study("s")


@pytest.fixture
def card(workspace: Workspace) -> StudyCard:
    uri = default_tracking_uri(workspace)
    return StudyCard(study="s", tracking_uri=uri, start_ms=1000, params={"seed": 0}, tags={"t": "v"}, dataset=CARD)


@pytest.fixture
def delivery(workspace: Workspace, folder: StudyFolder, card: StudyCard) -> Delivery:
    return Delivery(MlflowStore(card.tracking_uri, workspace), folder, card)


@pytest.fixture
def client(workspace: Workspace) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(default_tracking_uri(workspace))


def history_of(epochs: int) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch=epoch, values={"val/accuracy": epoch / 10, "lr": 0.1}, timestamp_ms=2000 + epoch)
        for epoch in range(1, epochs + 1)
    ]


def write_trial(folder: TrialFolder, epochs: int, state: TrialState | None = None, number: int | None = None) -> None:
    config: dict[str, Any] = {"backbone": "resnet18"}
    counted = folder.number if number is None else number
    spec = TrialSpec.model_validate({"number": counted, "seed": 1, "epochs": 3, "config": config})
    write_whole(folder.spec, spec.model_dump_json())
    write_whole(folder.history, json.dumps([point.model_dump() for point in history_of(epochs)]))
    if state is not None:
        for name in ("first", "best", "last"):
            write_confusion(folder.confusion / f"{name}.csv", np.eye(3, dtype=np.int64), ["a", "b,c", "d"])
        write_whole(folder.weights_of(epochs), b"weights")
        outcome = TrialOutcome(
            state=state,
            epochs=epochs,
            best_epoch=epochs,
            best_value=0.3,
            best_metrics={"val/accuracy": 0.3},
            timestamp_ms=9000,
        )
        write_whole(folder.outcome, outcome.model_dump_json())


def runs(client: mlflow.MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def steps(client: mlflow.MlflowClient, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, "val/accuracy")]


def test_the_epochs_of_a_trial_reach_mlflow_in_as_few_requests_as_it_allows(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(self: Any, run: str, metrics: Any = (), **rest: Any) -> None:
        sizes.append(len(metrics))
        log_batch(self, run, metrics, **rest)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    write_trial(folder.trial(0), epochs=600)
    delivery.deliver_trial(folder.trial(0), ended=False, running=True)
    assert [size for size in sizes if size] == [1000, 200]
    points = client.get_metric_history(runs(client)["trial-0000"].info.run_id, "val/accuracy")
    assert [(point.step, point.timestamp) for point in points] == [(epoch, 2000 + epoch) for epoch in range(1, 601)]


def test_a_finished_trial_becomes_a_complete_child_run_and_its_folder_goes(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    write_trial(folder.trial(7), 3, TrialState.COMPLETE)
    run_id = delivery.deliver_trial(folder.trial(7), ended=True, running=False)
    assert run_id is not None
    run = runs(client)["trial-0007"]
    parent = runs(client)["s"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.info.status, run.data.tags["sweeper.state"], run.data.tags["t"]) == ("FINISHED", "complete", "v")
    assert run.data.params["optimizer.name"] == "adamw"
    assert run.data.metrics["best/val/accuracy"] == 0.3
    assert steps(client, run_id) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert run.inputs.dataset_inputs[0].dataset.digest == "abc"
    top = {file.path for file in client.list_artifacts(run_id)}
    assert top == {"config.yaml", "curves.png", "confusion", "images", "weights"}
    confusion = {file.path for file in client.list_artifacts(run_id, "confusion")}
    assert confusion == {f"confusion/{name}.{kind}" for name in ("first", "best", "last") for kind in ("csv", "png")}
    assert not folder.trial(7).path.exists()


@pytest.mark.parametrize(
    ("state", "status"),
    [(TrialState.PRUNED, "KILLED"), (TrialState.FAILED, "FAILED"), (TrialState.COMPLETE, "FINISHED")],
)
def test_the_state_of_a_trial_shows_in_its_run(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient, state: TrialState, status: str
) -> None:
    write_trial(folder.trial(0), 2, state)
    delivery.deliver_trial(folder.trial(0), ended=True, running=False)
    run = runs(client)["trial-0000"]
    assert (run.info.status, run.data.tags["sweeper.state"]) == (status, state.value)
    assert run.data.tags.get("sweeper.pruned_at") == ("2" if state is TrialState.PRUNED else None)


def test_pictures_of_reconstructions_can_be_looked_at_while_a_trial_runs(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    trial = folder.trial(0)
    write_trial(trial, 1)
    write_whole(trial.reconstructions / "epoch-0001.png", b"a picture")
    run_id = delivery.deliver_trial(trial, ended=False, running=True)
    assert run_id is not None
    write_whole(trial.reconstructions / "epoch-0001.png", b"the same, written again after a crash")
    delivery.deliver_trial(trial, ended=False, running=True)
    (sent,) = client.list_artifacts(run_id, "reconstructions")
    assert (sent.path, sent.file_size) == ("reconstructions/epoch-0001.png", len(b"a picture"))  # sent once


@pytest.mark.parametrize("calls_before_the_kill", range(0, 22, 4))
def test_a_delivery_killed_anywhere_ends_with_one_run_and_each_step_once(
    workspace: Workspace,
    folder: StudyFolder,
    card: StudyCard,
    client: mlflow.MlflowClient,
    calls_before_the_kill: int,
) -> None:
    write_trial(folder.trial(0), 3, TrialState.COMPLETE)
    dying = _DiesAfter(MlflowStore(card.tracking_uri, workspace), calls_before_the_kill)
    with pytest.raises(KeyboardInterrupt):
        Delivery(dying, folder, card).deliver_trial(folder.trial(0), ended=True, running=False)  # type: ignore[arg-type]
    if calls_before_the_kill % 8:
        (folder.trial(0).run).unlink(missing_ok=True)  # the note of the run did not reach the disk
    Delivery(MlflowStore(card.tracking_uri, workspace), folder, card).deliver_trial(
        folder.trial(0), ended=True, running=False
    )
    assert sorted(runs(client)) == ["s", "trial-0000"]
    assert steps(client, runs(client)["trial-0000"].info.run_id) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert runs(client)["trial-0000"].info.status == "FINISHED"


class _DiesAfter:
    """A store whose process dies after this many calls have reached MLflow."""

    def __init__(self, store: MlflowStore, calls: int):
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any) -> Any:
            if self._calls == 0:
                raise KeyboardInterrupt
            self._calls -= 1
            return method(*args)

        return call


def test_an_interrupted_trial_is_closed_and_reopened_in_the_same_run(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    trial = folder.trial(0)
    write_trial(trial, 1)
    first = delivery.deliver_trial(trial, ended=False, running=True)
    assert runs(client)["trial-0000"].info.status == "RUNNING"
    delivery.deliver_trial(trial, ended=False, running=False)
    assert runs(client)["trial-0000"].info.status == "KILLED"
    assert runs(client)["trial-0000"].data.tags["sweeper.state"] == "interrupted"
    write_trial(trial, 2)
    assert delivery.deliver_trial(trial, ended=False, running=True) == first
    assert runs(client)["trial-0000"].info.status == "RUNNING"
    assert steps(client, first or "") == [(1, 0.1), (2, 0.2)]


def test_a_delivery_that_was_given_up_changes_no_file_of_the_folder(workspace: Workspace, folder: StudyFolder) -> None:
    """It may have waited for an answer of the server, and another delivery has begun meanwhile."""
    given_up = threading.Event()
    uri = f"sqlite:///{workspace.mlflow_database}"
    card = StudyCard(study="s", tracking_uri=uri, start_ms=1000, params={"seed": 0}, tags={}, dataset=CARD)
    delivery = Delivery(MlflowStore(uri, workspace), folder, card, given_up)
    write_trial(folder.trial(0), 2, TrialState.COMPLETE)
    delivery.deliver_trial(folder.trial(0), ended=False, running=True)
    noted = folder.trial(0).run.read_bytes()
    given_up.set()
    with pytest.raises(TrackingError, match="given up"):
        delivery.deliver_trial(folder.trial(0), ended=True, running=False)
    assert folder.trial(0).run.read_bytes() == noted


def test_artifacts_lie_beside_the_database_wherever_the_program_runs(
    delivery: Delivery, folder: StudyFolder, workspace: Workspace, client: mlflow.MlflowClient
) -> None:
    write_trial(folder.trial(0), 1, TrialState.COMPLETE)
    delivery.deliver_trial(folder.trial(0), ended=True, running=False)
    uri = runs(client)["trial-0000"].info.artifact_uri
    assert uri.startswith((workspace.root / "mlruns" / "s").as_uri())


def test_the_outbox_delivers_in_the_background_and_reports_what_is_left(
    workspace: Workspace, folder: StudyFolder, card: StudyCard, client: mlflow.MlflowClient
) -> None:
    outbox = Outbox(workspace, folder, card)
    outbox.start()
    for number in range(3):
        write_trial(folder.trial(number), 2, TrialState.COMPLETE)
        outbox.notify(number, DeliveryPhase.ENDED)
    outbox.notify_sweep("FINISHED")
    told: list[int] = []
    assert outbox.close(60, tell=told.append) == 0
    assert told == sorted(told, reverse=True)
    assert {name: run.info.status for name, run in runs(client).items()} == dict.fromkeys(
        ["s", "trial-0000", "trial-0001", "trial-0002"], "FINISHED"
    )
    assert folder.trials() == []


def test_a_server_that_is_down_leaves_everything_on_disk(
    workspace: Workspace, folder: StudyFolder, card: StudyCard
) -> None:
    down = card.model_copy(update={"tracking_uri": "http://user:secret@127.0.0.1:9"})
    outbox = Outbox(workspace, folder, down)
    outbox.start()
    write_trial(folder.trial(0), 2, TrialState.COMPLETE)
    outbox.notify(0, DeliveryPhase.ENDED)
    assert outbox.close(60) == 2
    assert outbox.trouble is not None
    assert "secret" not in outbox.trouble
    assert folder.trial(0).outcome.exists()


class Clock:
    """Seconds that pass on demand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_end_of_a_sweep_waits_as_long_as_folders_arrive() -> None:
    clock = Clock()
    patience = Patience(10, clock=clock)
    for left in range(50, 0, -1):
        assert not patience.is_over(left, in_trouble=False)
        clock.now += 9
    assert not patience.is_over(0, in_trouble=False)
    clock.now += 10
    assert patience.is_over(0, in_trouble=False)


def test_time_in_which_the_process_was_stopped_is_not_waiting() -> None:
    clock = Clock()
    patience = Patience(10, at_most_s=20, clock=AwakeClock(clock))
    assert not patience.is_over(3, in_trouble=False)
    clock.now += 3600
    assert not patience.is_over(3, in_trouble=False)
    for _ in range(8):
        clock.now += 1
        assert not patience.is_over(3, in_trouble=False)
    clock.now += 1
    assert patience.is_over(3, in_trouble=False)


def test_the_end_of_a_sweep_does_not_wait_beyond_a_deadline_nor_for_a_server_out_of_reach() -> None:
    clock = Clock()
    bounded, doubtful = Patience(10, at_most_s=20, clock=clock), Patience(10, clock=clock)
    for left in (3, 2):
        assert not bounded.is_over(left, in_trouble=False)
        assert not doubtful.is_over(3, in_trouble=True)
        clock.now += LAST_TRY_S / 2
    assert doubtful.is_over(3, in_trouble=True)
    clock.now += 20
    assert bounded.is_over(1, in_trouble=False)


def test_a_server_that_gets_out_of_reach_at_the_end_of_a_sweep_is_given_its_last_try_from_then_on() -> None:
    clock = Clock()
    patience = Patience(10, clock=clock)
    assert not patience.is_over(3, in_trouble=False)
    clock.now += 9
    assert not patience.is_over(3, in_trouble=True)
    clock.now += LAST_TRY_S
    assert patience.is_over(3, in_trouble=True)


def test_errors_of_the_server_are_tracking_errors(workspace: Workspace) -> None:
    store = MlflowStore("http://127.0.0.1:9", workspace)
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        StudyRecords(store, Recorded("s")).begin()


def test_a_run_that_somebody_deleted_is_made_anew_and_holds_up_no_other(
    workspace: Workspace, delivery: Delivery, folder: StudyFolder, card: StudyCard, client: mlflow.MlflowClient
) -> None:
    for number in range(3):
        write_trial(folder.trial(number), 2)
        delivery.deliver_trial(folder.trial(number), ended=False, running=True)
        write_trial(folder.trial(number), 3, TrialState.COMPLETE)
    delivery.deliver_sweep("RUNNING")
    for name in ("s", "trial-0001"):
        client.delete_run(runs(client)[name].info.run_id)
    later = Delivery(MlflowStore(card.tracking_uri, workspace), folder, card)
    for number in range(3):
        later.deliver_trial(folder.trial(number), ended=True, running=False)
    later.deliver_sweep("FINISHED")
    found = runs(client)
    assert not folder.trials()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    parents = {found[f"trial-{number:04d}"].data.tags["mlflow.parentRunId"] for number in range(3)}
    assert parents == {found["s"].info.run_id}
    assert steps(client, found["trial-0001"].info.run_id) == [(epoch, epoch / 10) for epoch in range(1, 4)]


def test_another_server_gets_all_of_a_study_that_waits(
    workspace: Workspace, delivery: Delivery, folder: StudyFolder, card: StudyCard
) -> None:
    write_trial(folder.trial(0), 2)
    delivery.deliver_trial(folder.trial(0), ended=False, running=True)
    write_trial(folder.trial(0), 3, TrialState.COMPLETE)
    uri = f"sqlite:///{workspace.root / 'other.db'}"
    other = Delivery(MlflowStore(uri, workspace), folder, card)
    other.deliver_trial(folder.trial(0), ended=True, running=False)
    found = runs(mlflow.MlflowClient(uri))
    assert found["trial-0000"].data.tags["mlflow.parentRunId"] == found["s"].info.run_id


def test_a_file_that_is_being_written_is_not_uploaded(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    for name in ("trials.csv", "trials.csv.part"):
        write_whole(folder.artifacts / name, b"x")
    run = delivery.deliver_sweep("RUNNING")
    assert [file.path for file in client.list_artifacts(run)] == ["trials.csv"]


def test_a_fold_that_ends_while_its_epochs_are_delivered_loses_none_of_them(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, log_epochs = folder.trial(0), MlflowStore.log_epochs
    fold = trial.fold(1)
    write_trial(trial, 1)
    write_trial(fold, 2, number=0)

    def ends_meanwhile(self: MlflowStore, run: str, history: list[EpochMetrics]) -> None:
        log_epochs(self, run, history)
        if len(history) == 2:
            write_trial(fold, 3, TrialState.COMPLETE, number=0)

    monkeypatch.setattr(MlflowStore, "log_epochs", ends_meanwhile)
    for _ in range(2):
        delivery.deliver_trial(trial, ended=False, running=True)
    run = runs(client)["trial-0000-fold-1"]
    assert steps(client, run.info.run_id) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert run.info.status == "FINISHED"

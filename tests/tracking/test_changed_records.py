"""Runs whose folder or whose MLflow has changed since they were last delivered."""

from __future__ import annotations

import time

import mlflow

from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialState
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.outbox import DeliveryPhase, Outbox, Patience
from sweeper.tracking.tags import PARENT_TAG
from tests.tracking.test_delivery import card, client, delivery, folder, runs, steps, write_trial

__all__ = ["card", "client", "delivery", "folder"]  # fixtures


def test_an_epoch_that_is_trained_again_is_recorded_once(
    delivery: Delivery, folder: StudyFolder, client: mlflow.MlflowClient
) -> None:
    """The last checkpoint was damaged: the history on disk is shorter for a while, and then longer again."""
    for epochs in (3, 2, 3):
        write_trial(folder.trial(0), epochs)
        delivery.deliver_trial(folder.trial(0), ended=False, running=True)
    assert steps(client, runs(client)["trial-0000"].info.run_id) == [(epoch, epoch / 10) for epoch in range(1, 4)]


def test_a_parent_run_that_is_deleted_while_a_sweep_runs_holds_up_nothing(
    workspace: Workspace, folder: StudyFolder, card: StudyCard, client: mlflow.MlflowClient
) -> None:
    outbox = Outbox(workspace, folder, card)
    outbox.start()
    write_trial(folder.trial(0), 3, TrialState.COMPLETE)
    outbox.notify_sweep("RUNNING")
    outbox.notify(0, DeliveryPhase.ENDED)
    patience = Patience(60.0)
    while folder.trial(0).path.exists() and not patience.is_over(outbox.left, in_trouble=False):
        time.sleep(0.05)
    client.delete_run(runs(client)["s"].info.run_id)
    write_trial(folder.trial(1), 3, TrialState.COMPLETE)
    outbox.notify_sweep("FINISHED")
    outbox.notify(1, DeliveryPhase.ENDED)
    assert outbox.close(60.0) == 0
    assert not folder.trials()
    found = runs(client)
    assert found["trial-0001"].data.tags[PARENT_TAG] == found["s"].info.run_id


def test_the_run_of_a_confirmation_made_anew_stays_below_that_of_its_study(
    workspace: Workspace, folder: StudyFolder, card: StudyCard, client: mlflow.MlflowClient
) -> None:
    store = MlflowStore(card.tracking_uri, workspace)
    above = Delivery(store, folder, card).deliver_sweep("FINISHED")
    of_confirmation = card.model_copy(update={"stage": "confirmation"})
    first = Delivery(store, folder.confirmation, of_confirmation).deliver_sweep("FINISHED")
    client.delete_run(first)
    again = Delivery(store, folder.confirmation, of_confirmation).deliver_sweep("FINISHED")
    assert again != first
    assert client.get_run(again).data.tags[PARENT_TAG] == above

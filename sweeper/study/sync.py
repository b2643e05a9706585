"""Deliver to MLflow what a sweep could not, after it has ended."""

from __future__ import annotations

from sweeper.errors import StudyNotFound
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, tracking_uri_of
from sweeper.study.lock import study_lock
from sweeper.study.repetitions import stored_repetitions
from sweeper.tracking.delivery import Delivery
from sweeper.tracking.mlflow_store import MlflowStore


def sync_study(workspace: Workspace, storage_url: str, study: str, tracking_uri: str | None) -> int:
    """Deliver the folders of a study that nobody runs; return how many trials were waiting.

    Raises StudyLocked while a driver runs it and TrackingError when MLflow cannot be reached.
    """
    folder = workspace.study(study)
    with study_lock(folder, study):
        card = read_card(folder)
        if card is None:
            raise StudyNotFound(f"the study {study} was not run in this folder; there is nothing to deliver")
        uri = tracking_uri_of(workspace, study, tracking_uri)
        store = StudyStore.load(storage_url, study)
        rows = {row.number: row for row in store.rows()}
        delivery = Delivery(MlflowStore(uri, workspace), folder, card)
        waiting = folder.trials()
        for trial in waiting:
            row = rows.get(trial.number)
            ended = row is not None and row.state.ended
            delivery.deliver_trial(trial, ended=ended, running=False)
        delivery.deliver_sweep("KILLED" if store.remaining() else "FINISHED")
        return len(waiting) + _sync_confirmation(MlflowStore(uri, workspace), folder.confirmation)


def _sync_confirmation(store: MlflowStore, folder: StudyFolder) -> int:
    """Deliver what a confirmation of the study has left."""
    card = read_card(folder)
    if card is None:
        return 0
    delivery, waiting = Delivery(store, folder, card), folder.trials()
    unfinished = {one.number for one in stored_repetitions(folder) if one.outcome is None}
    for repetition in waiting:
        delivery.deliver_trial(repetition, ended=repetition.number not in unfinished, running=False)
    delivery.deliver_sweep("KILLED" if unfinished else "FINISHED")
    return len(waiting)

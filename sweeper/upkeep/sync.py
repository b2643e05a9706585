"""Deliver to MLflow what a sweep could not, after it has ended."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.confirm.repetitions import stored_repetitions
from sweeper.errors import DamagedFile, StudyNotFound
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, tracking_uri_of, write_card
from sweeper.study.holding import held_study
from sweeper.tracking.delivery import Delivery
from sweeper.tracking.mlflow_store import MlflowStore


def sync_study(
    workspace: Workspace, storage_url: str, study: str, tracking_uri: str | None, tracking_name: str | None = None
) -> int:
    """Deliver the folders of a study that nobody runs; return how many trials were waiting.

    `tracking_name` is what its experiment is to be called, if it is still to be made. Raises StudyLocked while a driver
    runs it, TrackingError when MLflow cannot be reached, TrackingRefused when it does not take the records, DamagedFile
    when a folder cannot be read; all others are delivered then.
    """
    folder, store = workspace.study(study), StudyStore.load(storage_url, study)
    with held_study(workspace, store):
        card = read_card(folder)
        if card is None:
            raise StudyNotFound(f"the study {study} was not run in this folder; there is nothing to deliver")
        uri = tracking_uri_of(workspace, study, tracking_uri)
        if tracking_name is not None:
            card = card.model_copy(update={"experiment": tracking_name})
            write_card(folder, card)
        rows = {row.number: row for row in store.rows()}
        delivery = Delivery(MlflowStore(uri, workspace), folder, card)
        count = _deliver(delivery, folder, lambda number: number in rows and rows[number].state.ended)
        delivery.deliver_sweep("KILLED" if store.remaining() else "FINISHED")
        return count + _sync_confirmation(MlflowStore(uri, workspace), folder.confirmation, tracking_name)


def _deliver(delivery: Delivery, folder: StudyFolder, ended: Callable[[int], bool]) -> int:
    """Deliver the folders of trials and return how many there were."""
    waiting, damaged = folder.trials(), list[str]()
    for trial in waiting:
        try:
            delivery.deliver_trial(trial, ended=ended(trial.number), running=False)
        except DamagedFile as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedFile("; ".join(damaged))
    return len(waiting)


def _sync_confirmation(store: MlflowStore, folder: StudyFolder, tracking_name: str | None) -> int:
    """Deliver what a confirmation of the study has left."""
    card = read_card(folder)
    if card is None:
        return 0
    if tracking_name is not None:
        card = card.model_copy(update={"experiment": tracking_name})
    delivery = Delivery(store, folder, card)
    unfinished = {one.number for one in stored_repetitions(folder) if one.outcome is None}
    count = _deliver(delivery, folder, lambda number: number not in unfinished)
    delivery.deliver_sweep("KILLED" if unfinished else "FINISHED")
    return count

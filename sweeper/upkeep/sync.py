"""Deliver to MLflow what a sweep could not, after it has ended."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from sweeper.confirm.looking import record_looks
from sweeper.confirm.repetitions import stored_repetitions
from sweeper.errors import DamagedFile, StudyError, StudyNotFound, TrackingRefused
from sweeper.finished.looks import count_looks, kept_looks
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, stored_form, tell_of_new_address, tracking_uri_of, write_card
from sweeper.study.ending import status_at_rest
from sweeper.study.holding import held_study
from sweeper.tracking.delivery import Delivery
from sweeper.tracking.mlflow_store import MlflowStore

logger = logging.getLogger(__name__)


def sync_study(
    workspace: Workspace, storage_url: str, study: str, tracking_uri: str | None, tracking_name: str | None = None
) -> int:
    """Deliver the folders of a study that nobody runs; return how many trials have something new in MLflow.

    `tracking_name` is what its experiment is to be called, if it is still to be made. Raises StudyLocked while a driver
    runs it, TrackingError when MLflow cannot be reached, TrackingRefused when it does not take the records, DamagedFile
    when a folder cannot be read; all others are delivered then.
    """
    folder, store = workspace.study(study), StudyStore.load(storage_url, study)
    with held_study(workspace, store, which="sends its runs to MLflow"):
        card = read_card(folder)
        if card is None:
            raise StudyNotFound(f"the study {study} was not run in this folder; there is nothing to deliver")
        mlflow = MlflowStore(tracking_uri_of(workspace, study, tracking_uri), workspace)
        tell_of_new_address(card, mlflow.uri, workspace, folder)
        if tracking_name is not None:
            card = card.model_copy(update={"experiment": tracking_name})
        delivery = Delivery(mlflow, folder, card)
        if tracking_name is not None:
            write_card(folder, card)
        ended = {row.number for row in store.rows() if row.state.ended}
        sent = _deliver(delivery, folder, ended)
        delivery.deliver_sweep(status_at_rest(folder, whole=not store.remaining()))
        sent += _of_confirmation(mlflow, folder.confirmation, tracking_name)
        if tracking_uri is not None:
            _keep_address(tracking_uri, folder, store)
        sent.require_whole()
        _count_looks(workspace, store, folder, tracking_uri)
        return sent.trials


def _count_looks(workspace: Workspace, store: StudyStore, folder: StudyFolder, tracking_uri: str | None) -> None:
    """Count the looks at the test split that are kept here. Raises TrackingError, StudyError for one without a run."""
    record_looks(workspace, store, tracking_uri)
    for trial in dict.fromkeys(look.trial for look in kept_looks(folder)):
        try:
            count_looks(workspace, store, trial, tracking_uri)
        except StudyError as error:
            raise StudyError(f"a look at the test split is not counted in MLflow: {error}") from error


def _keep_address(uri: str, folder: StudyFolder, store: StudyStore) -> None:
    """Write down where the runs of a study and its confirmation are from now on: what was delivered is gone here."""
    for one in (folder.confirmation, folder):
        if (card := read_card(one)) is not None:
            write_card(one, card := card.model_copy(update={"tracking_uri": uri}))
            if one == folder:
                store.note(CARD, stored_form(card, folder.root))


def sync_confirmation(store: MlflowStore, folder: StudyFolder) -> None:
    """Deliver what a confirmation has left. Raises as `sync_study`."""
    _of_confirmation(store, folder, None).require_whole()


def ended_repetitions(folder: StudyFolder) -> list[TrialFolder]:
    """Return the folders of a confirmation's repetitions that have ended, and have not been delivered completely."""
    unfinished = _unfinished(folder)
    return [trial for trial in folder.trials() if trial.number not in unfinished]


@dataclass(frozen=True)
class _Sent:
    """How many trials got something new in MLflow, and what was wrong with others."""

    trials: int = 0
    problems: tuple[DamagedFile | TrackingRefused, ...] = ()

    def __add__(self, other: _Sent) -> _Sent:
        return _Sent(self.trials + other.trials, self.problems + other.problems)

    def require_whole(self) -> None:
        """Raise what was wrong, of one kind at a time."""
        if self.problems:
            kind = type(self.problems[0])
            raise kind("; ".join(dict.fromkeys(str(problem) for problem in self.problems if isinstance(problem, kind))))


def _deliver(delivery: Delivery, folder: StudyFolder, ended: Collection[int]) -> _Sent:
    """Deliver the folders of trials, whatever is wrong with one of them."""
    sent = _Sent()
    for trial in folder.trials():
        before = _noted(trial)
        try:
            delivery.deliver_trial(trial, ended=trial.number in ended, running=False)
        except (DamagedFile, TrackingRefused) as error:
            sent += _Sent(problems=(error,))
        except OSError as error:
            sent += _Sent(problems=(DamagedFile(f"trial {trial.number} cannot be delivered: {error}"),))
        else:
            sent += _Sent(trials=int(not trial.path.exists() or _noted(trial) != before))
    return sent


def _noted(trial: TrialFolder) -> bytes | None:
    """Return what is noted of the run of a folder, if there is one."""
    return trial.run.read_bytes() if trial.run.exists() else None


def _of_confirmation(store: MlflowStore, folder: StudyFolder, tracking_name: str | None) -> _Sent:
    card = read_card(folder)
    if card is None:
        return _Sent()
    if tracking_name is not None:
        card = card.model_copy(update={"experiment": tracking_name})
    delivery, unfinished = Delivery(store, folder, card), _unfinished(folder)
    sent = _deliver(delivery, folder, {trial.number for trial in folder.trials()} - unfinished)
    delivery.deliver_sweep(confirmation_status(folder))
    return sent


def confirmation_status(folder: StudyFolder) -> str:
    """Return the status of a confirmation's parent run, while nobody trains repetitions."""
    return status_at_rest(folder, whole=not _unfinished(folder))


def _unfinished(folder: StudyFolder) -> set[int]:
    return {one.number for one in stored_repetitions(folder) if one.outcome is None}

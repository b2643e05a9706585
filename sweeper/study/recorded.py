"""Where the records of a stored study are: its folder on this machine, and its experiment in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.paths import StudyFolder, Workspace
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study.card import address_of, read_card, tracking_uri_of
from sweeper.study.claim import Claim
from sweeper.study.place import read_identity
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.run_record import read_record
from sweeper.tracking.study_records import Recorded, StudyRecords


def own_folder(workspace: Workspace, store: StudyStore) -> StudyFolder:
    """Return the folder of a study, or one where nothing is, if what lies there is another study's of this name."""
    study, stored = store.sweep.study, store.identity
    folder = workspace.study(study)
    local = read_identity(folder)
    if stored is not None and local is not None and local.id != stored.id:
        return StudyFolder(workspace.earlier_study(study, stored.id))
    return folder


def claimed_card(claim: Claim, folder: StudyFolder, copy: Mapping[str, Any] | None) -> StudyCard | None:
    """Return what the runs of a claimed study record, None of a new one; where its folder has no card, by the `copy`.

    Raises DamagedFile.
    """
    card = None if claim.earlier else read_card(folder)
    if card is None and copy is not None:
        card = StudyCard.model_validate(copy).model_copy(update={"identity": claim.identity})
    return card


def recorded_by(claim: Claim, folder: StudyFolder, card: StudyCard | None, name: str | None) -> Recorded:
    """Return which records in MLflow a study is to write, before it is opened; `card` is that of a begun one."""
    run = None if claim.earlier else read_record(folder.parent_run)
    called = name or (card.experiment if card else None)
    return Recorded.to_write(claim.study, claim.identity, called, run.run_id if run else None)


def tracking_uri_for(workspace: Workspace, store: StudyStore, named: str | None) -> str:
    """Return the MLflow address to use, as `tracking_uri_of`; in a folder without a card by the copy in the storage."""
    folder = workspace.study(store.sweep.study)
    card, copy = read_card(folder), store.noted(CARD)
    if card is None and copy is not None:
        card = StudyCard.model_validate(copy)
    return address_of(card, workspace, named, folder)


def recorded_as(workspace: Workspace, store: StudyStore) -> Recorded:
    """Return which records in MLflow are a study's, to read them."""
    card = read_card(own_folder(workspace, store))
    identity, name = store.identity, card.experiment if card else store.sweep.tracking.name
    if identity is None:
        return Recorded(store.sweep.study, name=name)
    return Recorded(store.sweep.study, identity.id, name, adopted=identity.adopted)


def records_of(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> StudyRecords:
    """Return a study's records in MLflow, to read them. Raises TrackingError."""
    uri = tracking_uri_of(workspace, store.sweep.study, tracking_uri, own_folder(workspace, store))
    return StudyRecords(MlflowStore(uri, workspace), recorded_as(workspace, store))

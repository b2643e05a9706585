"""The study card on disk: what every run of a study records, without the credentials of any address."""

from __future__ import annotations

import os

from sweeper.credentials import hide_credentials
from sweeper.errors import TrackingError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.mlflow_store import default_tracking_uri


def read_card(folder: StudyFolder) -> StudyCard | None:
    """Return what the runs of a study record, or None where this machine has not run it."""
    return StudyCard.model_validate_json(folder.card.read_bytes()) if folder.card.exists() else None


def write_card(folder: StudyFolder, card: StudyCard) -> None:
    """Store the card; of the MLflow address all but the user name and the password."""
    hidden = card.model_copy(update={"tracking_uri": hide_credentials(card.tracking_uri)})
    write_whole(folder.card, hidden.model_dump_json())


def tracking_uri_of(workspace: Workspace, study: str, named: str | None) -> str:
    """Return the MLflow address to use: the one named, or else the one the study was last run with.

    Raises TrackingError when that one had credentials, which are not stored, and the environment does
    not name it again.
    """
    card = read_card(workspace.study(study))
    if named or card is None:
        return named or default_tracking_uri(workspace)
    stored, again = card.tracking_uri, os.environ.get("MLFLOW_TRACKING_URI", "")
    if hide_credentials(again) == stored:
        return again
    if "***" in stored:
        raise TrackingError(
            f"the study {study} is recorded at {stored}, and the credentials of an address are never stored; "
            "name the whole address again with --tracking-uri or MLFLOW_TRACKING_URI"
        )
    return stored

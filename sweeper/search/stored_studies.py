"""The studies of a storage, found by their names: that of a working directory, unless another one is named."""

from __future__ import annotations

import os
from typing import Any

from sweeper.addresses import STORAGE_VARIABLE, sqlite_address
from sweeper.errors import StudyNotFound
from sweeper.paths import Workspace
from sweeper.search.ownership import stored_study
from sweeper.search.storage import open_storage, require_database, storage_errors
from sweeper.search.stored_trial import ASIDE, CARD, SWEEP
from sweeper.search.study_store import StudyStore


def storage_url(workspace: Workspace, storage: str | None) -> str:
    """Return the address of the storage that is named, in the call or in the environment, else of the folder's own."""
    return storage or os.environ.get(STORAGE_VARIABLE) or sqlite_address(workspace.optuna_database)


def study_names(url: str) -> list[str]:
    """Return the names of all studies of a storage that sweeper has made, the latest first."""
    require_database(url)
    with storage_errors(url):
        names = open_storage(url).study_names(SWEEP)
    return [name for name in names if ASIDE not in name]


def open_study(workspace: Workspace, storage: str | None, study: str | None) -> StudyStore:
    """Open the study of this name, or the latest. Raises StudyNotFound."""
    require_storage(workspace, storage)
    url = storage_url(workspace, storage)
    names = [study] if study else study_names(url)
    if not names:
        raise StudyNotFound("no study yet; `sweeper run` creates one")
    return StudyStore.load(url, names[0])


def stored_card(url: str, study: str) -> dict[str, Any] | None:
    """Return the copy of a study's card that a storage holds; None where it has neither a copy nor the study."""
    found = stored_study(url, study)
    return None if found is None or found.begins else StudyStore.load(url, study).noted(CARD)


def require_storage(workspace: Workspace, storage: str | None) -> None:
    """Raise StudyNotFound where no storage is named and this folder has none, saying what was in it."""
    own = not (storage or os.environ.get(STORAGE_VARIABLE))
    if own and not workspace.optuna_database.exists():
        missing = f"{workspace.root} has no {workspace.optuna_database.name}"
        raise StudyNotFound(f"{missing}{_what_is_lost_with_it(workspace)}")


def _what_is_lost_with_it(workspace: Workspace) -> str:
    known = workspace.studies_run()
    if not known:
        return "; `sweeper run` creates it"
    return (
        f", which held the trials of {', '.join(known)}: bring the file back, or name the "
        "storage that they are in with --storage; without it `sweeper run` begins a new study"
    )

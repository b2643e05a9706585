"""Being the only one to run a study: by a lock in its folder, a claim to the folder, and a lease in its storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sweeper.errors import StudyNotFound
from sweeper.identity import Identity
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.lease import Holder
from sweeper.search.study_store import StudyStore
from sweeper.study.claim import claim_study, settle, take_storage
from sweeper.study.lock import study_lock


@contextmanager
def held_study(workspace: Workspace, store: StudyStore, *, which: str) -> Iterator[Identity]:
    """Hold a study that is stored, and give its identity; `which` says what this process does, as of `study_lock`.

    Raises StudyLocked while another process runs it, here or elsewhere, StudyNotFound where it was deleted meanwhile,
    ForeignStudy where it belongs to another folder, DamagedFile.
    """
    study = store.sweep.study
    with study_lock(workspace.study(study), study, which=which):
        _require_stored(store, workspace.study(study))
        claim = claim_study(workspace, store.url, study)
        with leased(store, claim.identity):
            settle(claim, workspace)
            take_storage(claim, store)
            yield claim.identity


def _require_stored(store: StudyStore, folder: StudyFolder) -> None:
    """Raise StudyNotFound where the study has been deleted since it was opened; its lock leaves no folder behind."""
    try:
        StudyStore.load(store.url, store.sweep.study)
    except StudyNotFound:
        with suppress(OSError):  # who deletes it may remove the folder too
            if list(folder.path.iterdir()) == [folder.lock]:
                folder.lock.unlink()
                folder.path.rmdir()
        raise


@contextmanager
def leased(store: StudyStore, identity: Identity) -> Iterator[None]:
    """Hold the lease of a study whose lock is held: who had it in this folder, on this machine, is then dead."""
    place = identity.place
    holder = Holder(process=os.getpid(), host=place.host, user=place.user, place=place.id)
    with store.held(holder, lambda other: (other.place, other.host) == (holder.place, holder.host)):
        yield

"""Being the only one to run a study: by a lock in its folder, a claim to the folder, and a lease in its storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.identity import Identity
from sweeper.paths import Workspace
from sweeper.search.lease import Holder
from sweeper.search.study_store import StudyStore
from sweeper.study.claim import claim_study, settle, take_storage
from sweeper.study.lock import study_lock


@contextmanager
def held_study(workspace: Workspace, store: StudyStore) -> Iterator[Identity]:
    """Hold a study that is stored, and give its identity.

    Raises StudyLocked while another process runs it, here or elsewhere, ForeignStudy where it belongs to another
    folder, DamagedFile.
    """
    study = store.sweep.study
    with study_lock(workspace.study(study), study):
        claim = claim_study(workspace, store.url, study)
        with leased(store, claim.identity):
            settle(claim, workspace)
            take_storage(claim, store)
            yield claim.identity


@contextmanager
def leased(store: StudyStore, identity: Identity) -> Iterator[None]:
    """Hold the lease of a study whose lock is held: who had it in this folder, on this machine, is then dead."""
    place = identity.place
    holder = Holder(process=os.getpid(), host=place.host, user=place.user, place=place.id)
    with store.held(holder, lambda other: (other.place, other.host) == (holder.place, holder.host)):
        yield

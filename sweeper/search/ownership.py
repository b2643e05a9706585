"""To which place a stored study belongs: what its storage says, and taking it for a place."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Engine

from sweeper.errors import ForeignStudy
from sweeper.identity import Identity
from sweeper.search.as_written import read_as_written
from sweeper.search.attributes import read, swap
from sweeper.search.storage import has_database, open_storage, storage_errors

ATTRIBUTE = "identity"


@dataclass(frozen=True)
class Stored:
    """A study that a storage holds; without an identity where an earlier version of sweeper began it."""

    identity: Identity | None
    begins: bool = False
    """Whether it has neither an identity nor trials."""


def stored_study(storage_url: str, name: str) -> Stored | None:
    """Return what a storage holds under a name; None where the study or the file does not exist yet."""
    if not has_database(storage_url):
        return None
    with storage_errors(storage_url):
        storage = open_storage(storage_url)
        try:
            study = storage.get_study_id_from_name(name)
            identity = stored_identity(storage.engine, study)
            return Stored(identity, begins=identity is None and storage.get_n_trials(study) == 0)
        except KeyError:
            return None
        finally:
            storage.remove_session()
            storage.engine.dispose()


def stored_identity(engine: Engine, study: int) -> Identity | None:
    """Return what a study's storage says of it."""
    return _parsed(engine, _read(engine, study))


def take_for(engine: Engine, study: int, name: str, identity: Identity, *, override: bool) -> None:
    """Let a study belong to the place of `identity`, atomically.

    It may belong to no place yet, or to one that this comes after; with `override` to any. Raises ForeignStudy
    where it belongs to another, such as one that was faster.
    """
    while True:
        stored = _read(engine, study)
        before = _parsed(engine, stored)
        if before == identity:
            return
        mine = before is None or (before.id == identity.id and (override or identity.stands_for(before.place.id)))
        if not mine:
            raise ForeignStudy(f"the study {name} in this storage belongs to another folder ({before})")
        if swap(engine, study, ATTRIBUTE, stored, json.dumps(identity.model_dump(mode="json"))):
            return


def _read(engine: Engine, study: int) -> str | None:
    with engine.connect() as connection:
        return read(connection, study, ATTRIBUTE)


def _parsed(engine: Engine, stored: str | None) -> Identity | None:
    with read_as_written(engine):
        return None if stored is None else Identity.model_validate_json(stored)

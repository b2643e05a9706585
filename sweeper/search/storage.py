"""Optuna's storage: a database by its address, and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import optuna
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from sweeper.addresses import SQLITE, sqlite_file
from sweeper.credentials import hide_credentials, hide_in
from sweeper.errors import StudyError, StudyNotFound
from sweeper.safeguards.extras import how_to_install
from sweeper.search.as_written import read_as_written
from sweeper.search.bulk_storage import BulkStorage
from sweeper.search.stored_trial import ASIDE, SWEEP

P = ParamSpec("P")
R = TypeVar("R")

OF_A_FILE = "Check that it is writable and that no other program keeps it locked"
OF_A_SERVER = (
    "Check that the server runs, and that user name, password, database and certificate in OPTUNA_STORAGE or --storage "
    "are right"
)
OF_A_NAME = "A storage is named by an address: sqlite:///NAME.db for a file, or postgresql://USER@HOST/NAME. Correct it"
LOCK_PATIENCE_S = 60  # how long another program may keep SQLite's file locked


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn what the storage raises in the block into a StudyError."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = str(error.__cause__ or error).split("\n")[0]
        raise StudyError(
            hide_credentials(f"the study storage {url} cannot be used: {cause}. ")
            + _advice(url, error)
            + ", then run the same command again to go on; --storage names another"
        ) from error


def _advice(url: str, error: Exception) -> str:
    if isinstance(error, ImportError) and url.startswith("postgresql"):
        return f"Install the client of PostgreSQL: {how_to_install('postgres')}"
    return OF_A_FILE if url.startswith(SQLITE) else OF_A_SERVER if "://" in url else OF_A_NAME


class Stored(Protocol):
    """What lies in a storage."""

    @property
    def url(self) -> str: ...


S = TypeVar("S", bound=Stored)


def guarded(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Turn the storage's errors in a method into a StudyError."""

    @wraps(method)
    def call(stored: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with storage_errors(stored.url):
            return method(stored, *args, **kwargs)

    return call


def has_database(url: str) -> bool:
    """Return whether there is a database to ask; only of a file that is not there is it known that there is none."""
    with storage_errors(url):
        _parsed(url)
    file = sqlite_file(url, Path.cwd())
    return file is None or file.exists()


def require_database(url: str) -> None:
    """Raise StudyNotFound where reading would make an empty database file."""
    if not has_database(url):
        file = sqlite_file(url, Path.cwd())
        raise StudyNotFound(f"the database {file} does not exist; `sweeper run` creates it, or correct --storage")


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ValueError:  # its text may hold a part of the password
        raise StudyError(
            f"{hide_credentials(url)} is not a database address: the port must be a number, and : / @ in a user name "
            "or password are written %3A %2F %40; correct --storage"
        ) from None


def open_storage(url: str) -> BulkStorage:
    """Return Optuna's storage at an address. Raises StudyError for what is none."""
    # It warns of conditional parameters sampled on their own, which is as it should be here.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    hide_in("optuna")
    _parsed(url)
    if "{SCHEMA_VERSION}" not in url:  # the one pair of braces that Optuna fills in; it stumbles over all others
        url = url.replace("{", "{{").replace("}", "}}")
    arguments = {"connect_args": {"timeout": LOCK_PATIENCE_S}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    with read_as_written(url):
        return BulkStorage(url, engine_kwargs=arguments)


def study_not_found(storage: BulkStorage, name: str) -> StudyNotFound:
    """Return the error for a name that no study has; it names those that there are."""
    known = [study for study in storage.study_names(SWEEP) if ASIDE not in study]
    there = f"the studies are: {', '.join(known)}" if known else "it does not exist yet; `sweeper run` creates it"
    return StudyNotFound(f"no study is called {name}; {there}")

"""MLflow's database in a folder that was moved or copied: it still says that the files of runs lie in the old place.

MLflow keeps whole paths and has no command that changes them. So they are changed in its tables, in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sweeper.errors import NOT_AS_WRITTEN, TrackingError, first_line
from sweeper.paths import MLFLOW_ARTIFACTS
from sweeper.tracking.refusal import damaged_database
from sweeper.tracking.tags import ID_TAG

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow 3 that say where files lie."""

LOCATIONS = f"""
SELECT artifact_location, EXISTS (
    SELECT 1 FROM experiment_tags AS tag WHERE tag.experiment_id = experiments.experiment_id AND tag.key = '{ID_TAG}'
) FROM experiments WHERE artifact_location IS NOT NULL
"""  # noqa: S608 (a tag's name, which is a constant)


@dataclass(frozen=True)
class Location:
    """Where the files of an experiment lie, if that is on this machine; `ours`: a study's of sweeper."""

    base: Path
    rest: Path
    ours: bool


def holds_run(database: Path, run: str) -> bool:
    """Return whether a database holds a run. Raises TrackingError where it cannot be read."""
    with _reading(database), closing(_opened(database)) as connection:
        return connection.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run,)).fetchone() is not None


def old_places(database: Path) -> list[Path]:
    """Return the folders in which a database says that files lie, though its own folder holds them now.

    A folder that still is where the database says, with files that are not here, is left alone. Raises
    TrackingError where the database cannot be read.
    """
    here = database.parent / MLFLOW_ARTIFACTS
    with _reading(database), closing(_opened(database)) as connection:
        rows = connection.execute(LOCATIONS).fetchall()
    found = [location for address, ours in rows if (location := _located(address, ours, here))]
    stale = {location.base for location in found if location.base != here and _is_here_now(location, here)}
    return sorted(stale)


def relocate(database: Path) -> list[Path]:
    """Let a database look for files beside itself, and return the folders where it looked. Raises TrackingError."""
    old, here = old_places(database), database.parent / MLFLOW_ARTIFACTS
    if not old:
        return []
    try:
        with closing(_opened(database)) as connection, connection:
            for before, after in _renamings(old, here):
                for table, column in ADDRESSES:
                    _replace(connection, table, column, before, after)
    except sqlite3.Error as error:
        raise TrackingError(
            f"MLflow's database {database} was moved here from {old[0].parent}, and its paths cannot be "
            f"corrected: {first_line(error)}; make it writable, and run the same command again"
        ) from error
    return old


def other_folder(address: str, database: Path) -> Path | None:
    """Return the working folder in which the files of a database's experiment lie, where that is another one.

    So it is in a copy of a folder without the files of its runs, while the original is still there.
    """
    here = database.parent / MLFLOW_ARTIFACTS
    location = _located(address, 1, here)
    if location is None or not (location.base.parent / database.name).exists():
        return None
    same = location.base.exists() and here.exists() and location.base.samefile(here)
    return None if same else location.base.parent


@contextmanager
def _reading(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise TrackingError(f"MLflow's database {database} cannot be read: {first_line(error)}") from error
    except NOT_AS_WRITTEN as error:
        raise damaged_database(str(database), error) from error


def _opened(database: Path) -> sqlite3.Connection:
    """Open a database that is there. It may be written: SQLite first undoes what a killed process began."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=20)


def _located(address: str, ours: int, here: Path) -> Location | None:
    """Take the path of an experiment's files apart, at the folder that MLflow keeps all of them in.

    Return None where they are in the folder `here` already, or the address is not such a path.
    """
    path = _path(address)
    if not path.is_absolute() or MLFLOW_ARTIFACTS not in path.parts:
        return None
    if here in path.parents:
        return None
    base = next(folder for folder in [path, *path.parents] if folder.name == MLFLOW_ARTIFACTS)
    return Location(base, path.relative_to(base), bool(ours))


def _path(address: str) -> Path:
    """Return the path of an address of MLflow's, which may be a plain path."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file:") else Path(address)


def _is_here_now(location: Location, here: Path) -> bool:
    """Return whether files are in this folder, or in none any more, so that the next ones should come here."""
    there, now = (location.base / location.rest).exists(), (here / location.rest).exists()
    if not location.ours:
        return now and not there
    return now or not there


def _renamings(old: list[Path], here: Path) -> Iterator[tuple[str, str]]:
    """Yield the beginnings of addresses to replace, as MLflow writes them: addresses, and plain paths."""
    for base in old:
        yield base.as_uri(), here.as_uri()
        yield str(base), str(here)


def _replace(connection: sqlite3.Connection, table: str, column: str, before: str, after: str) -> None:
    """Replace the beginning of the addresses in a column, but not where the files are in the old place alone."""
    found = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
    addresses = [address for (address,) in found if address == before or address.startswith(f"{before}/")]
    changed = [(after + address.removeprefix(before), address) for address in addresses]
    connection.executemany(
        f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 (constants above)
        [(new, old) for new, old in changed if _path(new).exists() or not _path(old).exists()],
    )

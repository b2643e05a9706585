"""Addresses of databases, built from paths and read back by SQLAlchemy: a folder may have any name.

`?`, `#`, `%`, quotes and newlines mean something in an address, and a path put there as it is leads elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

SQLITE = "sqlite"

STORAGE_VARIABLE = "OPTUNA_STORAGE"
"""Names the storage where neither a command nor a call does."""


def sqlite_address(file: Path) -> str:
    """Return the address of an SQLite file."""
    from sqlalchemy import URL

    return URL.create(SQLITE, database=str(file)).render_as_string()


def sqlite_file(address: str, root: Path) -> Path | None:
    """Return the file of an SQLite address, absolute; None of any other address. Relative ones start at `root`."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not address.startswith(SQLITE):
        return None
    try:
        file = make_url(address).database
    except (ArgumentError, ValueError):
        return None
    if not file or file == ":memory:" or file.startswith("file:"):
        return None
    return root / file


def portable(address: str, root: Path) -> str:
    """Return an address as it is written down: of a file in `root` relative to it, so that the folder may move."""
    file = sqlite_file(address, root)
    if file is None or not file.is_relative_to(root):
        return address
    return sqlite_address(file.relative_to(root))


def absolute(address: str, root: Path) -> str:
    """Return an address that means the same wherever the process stands."""
    file = sqlite_file(address, root)
    return address if file is None else sqlite_address(file)


def address_within(database: Path, root: Path) -> str:
    """Return the address of a database in a working directory, for MLflow.

    Before it opens one, MLflow makes the folder that it reads in the address, without unquoting it. So a folder of an
    odd name is addressed from inside.
    """
    whole = sqlite_address(database)
    is_plain = whole == f"{SQLITE}:///{database}"
    return whole if is_plain or Path.cwd() != root else portable(whole, root)


def local_path(address: str) -> Path | None:
    """Return the folder of an address, if it is on this machine."""
    parts = urlsplit(address)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path)) if parts.scheme else Path(address)

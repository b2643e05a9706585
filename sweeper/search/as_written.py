"""What a database holds that is not what was written there, reported in place of a traceback or a wrong number.

SQLite keeps no digests of its own: a byte that has changed on the disk comes out as another text or number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from sweeper.credentials import hide_credentials
from sweeper.errors import NOT_AS_WRITTEN, DamagedFile, first_line


@contextmanager
def read_as_written(database: Engine | str) -> Iterator[None]:
    """Turn what comes of reading anything else from a database, or the address of one, into DamagedFile."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        url = database if isinstance(database, str) else database.url.render_as_string()
        raise damaged_storage(f"the study storage {hide_credentials(url)} holds something else", error) from error


def damaged_storage(what: str, error: Exception) -> DamagedFile:
    """Return the error for a storage; `what` says where it is damaged."""
    return DamagedFile(
        f"{what} than was written there ({first_line(error)}): it is damaged, or another program has changed it; bring "
        "back a copy from before, or begin the study anew under another name"
    )

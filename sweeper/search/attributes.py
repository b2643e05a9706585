"""Attributes of a study that two programs may want to write at once: set only where they are still what one has read.

Optuna's own `set_user_attr` overwrites whatever another program has written meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

READ = "SELECT value_json FROM study_user_attributes WHERE study_id = :study AND key = :key"
INSERT = "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (:study, :key, :after)"
UPDATE = "UPDATE study_user_attributes SET value_json = :after WHERE study_id = :study AND key = :key"


def read(connection: Connection, study: int, key: str, *, lock: bool = False) -> str | None:
    """Return an attribute's JSON text. With `lock` nobody changes it until the transaction ends, where that can be."""
    shared = " FOR SHARE" if lock and connection.dialect.name == "postgresql" else ""  # SQLite has one writer anyway
    found = connection.execute(text(READ + shared), {"study": study, "key": key}).scalar()
    return None if found is None else str(found)


def swap(engine: Engine, study: int, key: str, before: str | None, after: str) -> bool:
    """Set an attribute to `after` if it is still `before`, or missing where that is None; return whether it was."""
    values = {"study": study, "key": key, "before": before, "after": after}
    try:
        with engine.begin() as connection:
            if before is None:
                connection.execute(text(INSERT), values)
                return True
            return connection.execute(text(f"{UPDATE} AND value_json = :before"), values).rowcount == 1
    except IntegrityError:
        return False

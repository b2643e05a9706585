"""Whose records are whose: a study has an id of its own, and a folder that it belongs to.

Names are for people, and two people choose the same one. So the id stands in the study's folder, in Optuna's storage
and in the tags of its experiment and runs in MLflow, and records are found by it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sweeper.config.frozen import Frozen


def new_id() -> str:
    """Return 16 hexadecimal digits that nobody else has."""
    return secrets.token_hex(8)


class Place(Frozen):
    """A folder that a study belongs to, and where it was when the study was last run.

    `inode` is that of the study's own folder: it stays when a working directory is renamed, and shows one that two
    machines share to be the same.
    """

    id: str
    user: str
    host: str
    folder: str
    inode: int
    since_ms: int

    @property
    def since(self) -> str:
        return datetime.fromtimestamp(self.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


class Identity(Frozen):
    """A study and the place that it belongs to. `formerly` are ids of places that this one has come after."""

    id: str
    place: Place
    formerly: tuple[str, ...] = ()
    adopted: bool = False
    """Begun by a version of sweeper that gave no ids, so that runs in MLflow may bear none yet."""

    def __str__(self) -> str:
        place = self.place
        return f"id {self.id}, {place.user} on {place.host} in {place.folder}, since {place.since}"

    def stands_for(self, place: str) -> bool:
        """Return whether what is claimed for a place is this one's."""
        return place == self.place.id or place in self.formerly

    def moved_to(self, place: Place) -> Identity:
        """Return the same study in another place."""
        if place.id == self.place.id:
            return self.model_copy(update={"place": place})
        return self.model_copy(update={"place": place, "formerly": (*self.formerly, self.place.id)})

"""The one look at the test split that a confirmation allows itself, and what was seen.

Figures that have been seen choose the next model, whether one means it or not. So they are kept, and shown
again instead of measured again; a further look must be asked for and is kept beside the first.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ConfigDict, Field, TypeAdapter

from sweeper.config.frozen import Frozen
from sweeper.files import read_parsed, write_sealed
from sweeper.paths import StudyFolder


class Look(Frozen):
    """One look at the test split."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    trial: int
    metrics: dict[str, float]
    images: int
    digest: str
    """Of the images."""
    when_ms: int
    forced: bool
    """Asked for although the split had been looked at before."""
    recorded: bool = False
    """MLflow knows of it."""
    files: dict[str, str] = Field({})
    """What was written, each file with its digest: a later evaluation may have replaced it."""

    @property
    def when(self) -> str:
        return datetime.fromtimestamp(self.when_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


LOOKS = TypeAdapter(list[Look])


def looks(folder: StudyFolder) -> list[Look]:
    """Return the looks of a study's confirmations, oldest first."""
    path = folder.confirmation.test_looks
    return read_parsed(path, LOOKS.validate_json) if path.exists() else []


def keep_look(folder: StudyFolder, look: Look) -> None:
    """Keep a look, in place of one at the same time."""
    others = [other for other in looks(folder) if other.when_ms != look.when_ms]
    ordered = sorted([*others, look], key=lambda kept: kept.when_ms)
    write_sealed(folder.confirmation.test_looks, LOOKS.dump_json(ordered))

"""What a running study is asked for from outside: files that commands leave in its folder and its driver reads.

A request is written whole or not at all, read in the order in which requests came, and gone once it has been carried
out. One that cannot be is answered by a file beside it. There is no server: who can write the folder can ask.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, TypeAdapter

from sweeper.config.bounds import Trials
from sweeper.config.frozen import Frozen
from sweeper.errors import NOT_AS_WRITTEN, StudyError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder

LOOK_S = 0.1
MOST_WORKERS = 10_000


class Stop(Frozen):
    """Start no more trials, and finish those that run."""

    kind: Literal["stop"] = "stop"


class Pause(Frozen):
    """Let each trial wait at the end of its epoch, and start none."""

    kind: Literal["pause"] = "pause"


class Resume(Frozen):
    """Let the trials that wait go on."""

    kind: Literal["resume"] = "resume"


class Skip(Frozen):
    """End a trial with the epoch that it is in."""

    kind: Literal["skip"] = "skip"
    number: int = Field(ge=0)


class Enqueue(Frozen):
    """Try a configuration next, by a name of its own."""

    kind: Literal["enqueue"] = "enqueue"
    name: str
    settings: dict[str, Any]


class SetTrials(Frozen):
    """Have this number of trials in all."""

    kind: Literal["set"] = "set"
    trials: Trials


class SetWorkers(Frozen):
    """Train this number of trials at the same time."""

    kind: Literal["workers"] = "workers"
    workers: int = Field(ge=1, le=MOST_WORKERS)

    @property
    def meaning(self) -> str:
        return "one trial at a time" if self.workers == 1 else f"{self.workers} trials at the same time"


Request = Annotated[Stop | Pause | Resume | Skip | Enqueue | SetTrials | SetWorkers, Discriminator("kind")]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


@dataclass(frozen=True)
class Inbox:
    """The requests to one study."""

    folder: Path

    @classmethod
    def of(cls, study: StudyFolder) -> Inbox:
        return cls(study.requests)

    def put(self, request: Request) -> Path:
        """Leave a request, and return the file that is gone once the driver has carried it out."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
        write_whole(path, request.model_dump_json())
        return path

    def waiting(self) -> Iterator[tuple[Path, Request]]:
        """Yield what was asked for, oldest first; what nobody can read is removed."""
        for path in sorted(self.folder.glob("*.json")) if self.folder.exists() else ():
            try:
                yield path, REQUEST.validate_json(path.read_bytes())
            except NOT_AS_WRITTEN:
                path.unlink(missing_ok=True)

    def refuse(self, path: Path, why: str) -> None:
        """Answer a request that cannot be carried out."""
        write_whole(path.with_suffix(".refused"), why)
        path.unlink(missing_ok=True)

    def forget_old(self) -> None:
        """Remove requests to stop, pause or go on that came before this driver started, and old answers."""
        for path, request in self.waiting():
            if isinstance(request, Stop | Pause | Resume):
                path.unlink(missing_ok=True)
        for path in self.folder.glob("*.refused") if self.folder.exists() else ():
            path.unlink(missing_ok=True)


def wait_for_answer(path: Path, patience_s: float) -> bool:
    """Return whether a request has been carried out in this time; if not it is withdrawn.

    Raises StudyError where it was refused.
    """
    until = time.monotonic() + patience_s
    refused = path.with_suffix(".refused")
    while path.exists() and not refused.exists() and time.monotonic() < until:
        time.sleep(LOOK_S)
    if refused.exists():
        with suppress(FileNotFoundError):
            why = refused.read_text(encoding="utf-8")
            refused.unlink()
            raise StudyError(why)
    try:
        path.unlink()
    except FileNotFoundError:
        return True
    return False

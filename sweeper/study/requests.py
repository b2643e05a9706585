"""What a running study is asked for from outside: files that commands leave in its folder and its driver reads.

A request is written whole or not at all. Its driver takes it, in the order in which requests came, by giving it another
name; until then who asked may withdraw it. A file beside it then says what was done, or why it cannot be. There is no
server: who can write the folder can ask.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, TypeAdapter

from sweeper.config.bounds import Trials
from sweeper.config.frozen import Frozen
from sweeper.errors import NOT_AS_WRITTEN, StudyError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder
from sweeper.study.lock import CONFIRMS, is_running, other_work

logger = logging.getLogger(__name__)

ASKED, TAKEN, DONE, REFUSED = ".json", ".taken", ".done", ".refused"
PAUSED = "paused"  # a file beside them, while the study waits
LOOK_S = 0.1
LONGEST_S = 60.0
"""For how long it is waited for a request that has been taken: to end many workers takes a while."""

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
    _told_of: set[Path] = field(default_factory=set, repr=False, compare=False)
    """Files that cannot be changed."""

    @classmethod
    def of(cls, study: StudyFolder) -> Inbox:
        return cls(study.requests)

    @property
    def paused(self) -> bool:
        """Whether the driver that takes the requests has been asked to pause, and not yet to go on."""
        return (self.folder / PAUSED).exists()

    def note_paused(self, paused: bool) -> None:
        """Let others see whether the study is paused; where the disk has no room they do not."""
        with suppress(OSError):
            if paused:
                (self.folder / PAUSED).touch()
            else:
                (self.folder / PAUSED).unlink(missing_ok=True)

    def put(self, request: Request) -> Path:
        """Leave a request, and return its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{ASKED}"
        write_whole(path, request.model_dump_json())
        return path

    def take(self) -> Iterator[tuple[Path, Request]]:
        """Take what was asked for, oldest first; `done` or `refuse` is to follow. What is no request is removed."""
        for path in self._files(ASKED):
            request = self._read(path)
            if request is not None and self._renamed(path, TAKEN):
                yield path, request

    def _read(self, path: Path) -> Request | None:
        try:
            return REQUEST.validate_json(path.read_bytes())
        except FileNotFoundError:  # withdrawn, or a link to nothing
            self._remove(path)
        except NOT_AS_WRITTEN:
            self._remove(path)
        except OSError as error:
            with self._leaving(path):
                told = f"who runs the study cannot read the request ({error.strerror}); ask as the same user"
                self.refuse(path, told)
        return None

    def _renamed(self, path: Path, kind: str) -> bool:
        """Give a request its next state; return False where it is withdrawn in this moment, or is not ours to take."""
        with self._leaving(path), suppress(FileNotFoundError):
            path.rename(path.with_suffix(kind))
            return True
        return False

    def _remove(self, path: Path) -> None:
        with self._leaving(path):
            path.unlink(missing_ok=True)

    @contextmanager
    def _leaving(self, path: Path) -> Iterator[None]:
        """Leave a file where it is if the system refuses to change it: a request by root must not end a study."""
        try:
            yield
        except OSError as error:
            if path not in self._told_of:
                self._told_of.add(path)
                whose = f"; {self.folder} must belong to the user who runs the study"
                told = whose if isinstance(error, PermissionError) else ""
                logger.warning("%s cannot be taken or answered (%s)%s", path, error.strerror, told)

    def done(self, path: Path, what: str) -> None:
        """Answer a request that was carried out."""
        self._answer(path, DONE, what)

    def refuse(self, path: Path, why: str) -> None:
        """Answer a request that cannot be carried out."""
        self._answer(path, REFUSED, why)

    def _answer(self, path: Path, kind: str, text: str) -> None:
        write_whole(path.with_suffix(kind), text)
        for file in (path, path.with_suffix(TAKEN)):
            with suppress(OSError):  # whatever somebody has put there
                file.unlink()

    def forget_old(self, before_ns: int) -> None:
        """Remove requests to stop, pause or go on that were asked of an earlier driver, before a time, and old answers.

        What that one had taken and not done is asked for again. The folder is made, so that it belongs to who runs the
        study, whoever asks first.
        """
        with self._leaving(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.note_paused(False)
        for path in self._files(TAKEN):
            if path.with_suffix(DONE).exists() or path.with_suffix(REFUSED).exists():
                self._remove(path)
            else:
                self._renamed(path, ASKED)
        for path in self._files(ASKED, DONE, REFUSED):
            if path.name < f"{before_ns:020d}" and (
                path.suffix != ASKED or isinstance(self._read(path), Stop | Pause | Resume)
            ):
                self._remove(path)

    def _files(self, *kinds: str) -> list[Path]:
        return sorted(path for kind in kinds for path in self.folder.glob(f"*{kind}"))


def is_paused(study: StudyFolder) -> bool:
    """Return whether who holds a study, or trains its best trials again, was asked to pause and not yet to go on."""
    confirms = (other_work(study) or "").endswith(CONFIRMS)
    return is_running(study) and Inbox.of(study.confirmation if confirms else study).paused


def wait_for_answer(path: Path, patience_s: float) -> str | None:
    """Return what was done about a request; None where it is not taken in this time, and so withdrawn.

    Raises StudyError where it was refused, or takes long.
    """
    asked = time.monotonic()
    while not (found := _answer_to(path)):
        waited = time.monotonic() - asked
        if waited >= patience_s and _withdrawn(path):
            return None
        if waited >= max(patience_s, LONGEST_S):
            raise StudyError(
                f"the study took the request and has not answered in {waited:.0f} s; `sweeper watch` shows whether it "
                "still runs"
            )
        time.sleep(LOOK_S)
    kind, text = found
    if kind == REFUSED:
        raise StudyError(text)
    return text


def _answer_to(path: Path) -> tuple[str, str] | None:
    """Return whether a request was done or refused, and what is said of it, once; None while there is no answer."""
    for kind in (DONE, REFUSED):
        file = path.with_suffix(kind)
        with suppress(FileNotFoundError):
            text = file.read_text(encoding="utf-8")
            file.unlink()
            return kind, text
    return None


def _withdrawn(path: Path) -> bool:
    """Withdraw a request, and return whether that could be: it was not taken before."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True

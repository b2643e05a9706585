"""A disk that fills up now and then, and loses what was not made to last when the power is cut.

It is the real file system with other `fsync`, `replace`, `rename` and `unlink`: what a file holds lasts once it was
synced, and its name once the folder was.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.world import World

UNLINK, REPLACE, RENAME = os.unlink, os.replace, os.rename


@dataclass(frozen=True)
class NotYetLasting:
    """A name that was given to a file before the folder was synced, and what it stood for before."""

    path: Path
    before: bytes | None


@dataclass
class Disk:
    """The disk below one folder."""

    world: World
    root: Path
    synced: set[int] = field(default_factory=set)
    torn: set[Path] = field(default_factory=set)
    """Files whose content was not synced when they got their name."""
    names: list[NotYetLasting] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("fsync", "replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._at(f"sync the folder {self._shown(path)}")
            self.names = [name for name in self.names if name.path.parent != path]
            return
        self._at(f"sync {self._shown(path)}")
        if self.world.chance(self.world.rates.disk):
            self.world.note("the disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.synced.add(os.fstat(descriptor).st_ino)

    def replace(self, source: Any, target: Any) -> None:
        source, target = Path(source), Path(target)
        self._at(f"replace {self._shown(target)}")
        lasting = source.stat().st_ino in self.synced
        self.names.append(NotYetLasting(target, target.read_bytes() if target.exists() else None))
        REPLACE(source, target)
        (self.torn.discard if lasting else self.torn.add)(target)
        self._at(f"replaced {self._shown(target)}")

    def rename(self, source: Any, target: Any, **options: Any) -> None:
        self._at(f"rename {self._shown(Path(source))}")
        RENAME(source, target, **options)

    def unlink(self, path: Any, **options: Any) -> None:
        self._at(f"unlink {Path(path).name}")
        UNLINK(path, **options)

    def _at(self, what: str) -> None:
        self.world.place(what)

    def _shown(self, path: Path) -> str:
        return str(path).removeprefix(f"{self.root}/")

    def cut_power(self) -> None:
        """Lose what does not last yet: the latest names, and the end of what was not synced."""
        dice = self.world.dice
        for name in reversed(self.names[dice.randint(0, len(self.names)) :]):
            self.world.note(f"power cut: {self._shown(name.path)} is as it was")
            with suppress(FileNotFoundError):  # its folder has gone
                UNLINK(name.path) if name.before is None else name.path.write_bytes(name.before)
        for path in sorted(self.torn):
            if path.exists():
                self.world.note(f"power cut: {self._shown(path)} is torn")
                os.truncate(path, dice.randint(0, path.stat().st_size))
        self.names, self.torn = [], set()

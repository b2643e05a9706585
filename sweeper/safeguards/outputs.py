"""Files that a user names to be written: none of them ever takes the place of what is not ours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from sweeper.errors import ConfigError, Problem
from sweeper.files import part_of
from sweeper.safeguards.written_files import WrittenFiles

HEAD = 65_536  # bytes of a file's beginning, by which its kind is recognised


@dataclass(frozen=True)
class Kind:
    """A kind of file that we write, and how every file of the kind begins."""

    name: str
    form: re.Pattern[bytes]

    def is_of(self, path: Path) -> bool:
        """Return whether a file is of the kind."""
        with path.open("rb") as file:
            return self.form.match(file.read(HEAD)) is not None


@dataclass(frozen=True)
class Output:
    """A file to be written where an option says, by a command that reads `inputs`.

    One of its kind that was edited since it was written is replaced by `force` alone, which is None where a command has
    no such option. Files of earlier versions count as edited.
    """

    path: Path
    kind: Kind
    option: str
    inputs: tuple[Path, ...] = ()
    force: bool | None = False

    def require_free(self) -> None:
        """Raise ConfigError where the file would take the place of anything but an earlier one as it was written."""
        wrong = self._in_the_way()
        if wrong:
            raise ConfigError([Problem(self.option, "", wrong)])

    def write(self, content: bytes | str) -> None:
        """Write the file whole. Raises ConfigError as above, DiskError when it cannot be written."""
        self.require_free()  # anything may have been put there since it was asked first
        WrittenFiles(self.path.parent).write(self.path, content)

    def _in_the_way(self) -> str | None:
        path, part = self.path, part_of(self.path)
        if path.is_dir():
            return f"{path} is a folder; name a file"
        if _exists(part):
            return (
                f"{part} is in the way: remove it, if it is left from a command that was killed, or name another file"
            )
        if not _exists(path):
            return None
        if not path.is_file():
            return f"{path} is not a regular file, so it is not replaced; choose another name"
        if any(_same(path, given) for given in self.inputs):
            return f"{path} is read by this command and never replaced by it; name another file"
        try:
            return self._not_ours()
        except OSError as error:
            return f"{path} is there and cannot be read ({error.strerror}); name another file"

    def _not_ours(self) -> str | None:
        path = self.path
        if not self.kind.is_of(path):
            whose = f"{path} is not a {self.kind.name} by sweeper"
            return f"{whose}, so it is not replaced; choose another name, or move it away"
        if self.force or WrittenFiles(path.parent).holds(path):
            return None
        remedy = "move it away" if self.force is None else "name another file, or replace it with --force"
        return f"{path} is not as it was written: it may have been edited by hand, so it is not replaced; {remedy}"


def require_free(outputs: Iterable[Output]) -> None:
    """Raise ConfigError, before the long work, for outputs that could not be written after it."""
    for output in outputs:
        output.require_free()


def marked() -> PngInfo:
    """Return what a picture of ours is known by."""
    info = PngInfo()
    info.add_text("Software", "sweeper")
    return info


PICTURE = Kind("picture", re.compile(rb"\x89PNG\r\n\x1a\n.{0,200}?tEXtSoftware\x00sweeper", re.DOTALL))
SPACE = Kind("search space", re.compile(rb"# Images: "))
EXAMPLE = Kind("search space", re.compile(rb"# An example of sweeper, "))
NETWORK = Kind("model file", re.compile(rb'""".*register_model', re.DOTALL))
PAGE = Kind("page", re.compile(rb'<!doctype html>.{0,2000}?<meta name="generator" content="sweeper">', re.DOTALL))


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _same(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)

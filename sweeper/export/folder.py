"""The folder of an export: its file names, and how it comes to stand there whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweeper.errors import ExportError

FORMAT = "sweeper-export"
"""Stands in config.json; a folder without it is none of ours."""

SHOWN = 5
"""How many foreign files a message names."""


@dataclass(frozen=True)
class ExportFolder:
    """Where each part of an export lies."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def onnx(self) -> Path:
        return self.path / "model.onnx"

    def variant(self, kind: str) -> Path:
        """The network in smaller numbers, `fp16` or `int8`."""
        return self.path / f"model.{kind}.onnx"

    @property
    def program(self) -> Path:
        """A torch.export program."""
        return self.path / "model.pt2"

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def label_program(self) -> Path:
        """Labels images without this package."""
        return self.path / "label.py"

    @property
    def picture(self) -> Path:
        """The folder of the programs that prepare an image."""
        return self.path / "picture"

    @property
    def verification(self) -> Path:
        return self.path / "verification.json"

    @property
    def model_files(self) -> Path:
        """Copies of the files that define architectures of the user's own."""
        return self.path / "model_files"

    def inside(self, name: str) -> Path:
        """Return a file by its name. Raises ExportError where it leads elsewhere: an export may be a stranger's."""
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise ExportError(f"{self.config} names the file {name!r} outside the export; export again")
        return path

    def files(self) -> tuple[str, ...]:
        """Return the names of all files in the folder, with / between their parts."""
        found = (path for path in self.path.rglob("*") if not path.is_dir())
        return tuple(sorted(path.relative_to(self.path).as_posix() for path in found))


def require_replaceable(destination: Path) -> None:
    """Raise ExportError unless nothing stands at `destination`, or an earlier export and nothing else."""
    if not destination.exists():
        return
    if not destination.is_dir():
        raise ExportError(f"{destination} is a file; name a folder for the export")
    foreign = _foreign_files(ExportFolder(destination))
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise ExportError(
            f"{destination} holds what no export wrote and is left alone: {', '.join(foreign[:SHOWN])}{more}; "
            "name another folder, or move these files away"
        )


def _foreign_files(folder: ExportFolder) -> list[str]:
    own = _files_of_export(folder)
    return [name for name in folder.files() if name not in own and "__pycache__" not in name]


def _files_of_export(folder: ExportFolder) -> frozenset[str]:
    """Return the files that the export in a folder lists as its own; none where there is no export."""
    try:
        config = json.loads(folder.config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return frozenset()
    ours = isinstance(config, dict) and config.get("format") == FORMAT and isinstance(config.get("files"), list)
    return frozenset(map(str, config["files"])) if ours else frozenset()


@contextmanager
def staged(destination: Path) -> Iterator[ExportFolder]:
    """Give a folder beside `destination` to fill; put it in its place when the block ends well.

    Whatever goes wrong in the block leaves `destination` as it was.

    Raises:
        ExportError: `destination` must not be replaced, or cannot be written.
    """
    destination = destination.resolve()
    require_replaceable(destination)
    staging = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        _clear_leftovers(destination)
        staging.mkdir(parents=True)
        yield ExportFolder(staging)
        require_replaceable(destination)  # writing took a while, in which anything may have been put there
        _put_in_place(staging, destination)
    except OSError as error:
        raise ExportError(f"{destination} cannot be written: {error}; repair that or name another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear_leftovers(destination: Path) -> None:
    """Undo what killed exports to the same destination left half done beside it."""
    for path in _leftovers(destination, "earlier"):
        if destination.exists():
            shutil.rmtree(path)
        else:
            path.rename(destination)
    for path in _leftovers(destination, "partial"):
        shutil.rmtree(path)


def _leftovers(destination: Path, kind: str) -> list[Path]:
    """Return the folders of exports whose process is gone, or was an earlier one of the same number."""
    found = [(path, path.name.split(".")[-2]) for path in destination.parent.glob(f".{destination.name}.*.{kind}")]
    living = [pid for _, pid in found if pid.isdigit() and int(pid) != os.getpid() and psutil.pid_exists(int(pid))]
    return [path for path, pid in found if pid.isdigit() and pid not in living]


def _put_in_place(staging: Path, destination: Path) -> None:
    """Swap two folders by renaming, since none can be renamed onto one that holds files."""
    if not destination.exists():
        staging.rename(destination)
        return
    earlier = staging.with_suffix(".earlier")
    destination.rename(earlier)
    try:
        staging.rename(destination)
    except OSError:
        earlier.rename(destination)
        raise
    shutil.rmtree(earlier, ignore_errors=True)

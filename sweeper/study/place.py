"""Where a study's folder is: the same as before, moved, or a copy of one that is still there."""

from __future__ import annotations

import getpass
import os
import socket
import time
from enum import StrEnum
from pathlib import Path

from sweeper.addresses import sqlite_file
from sweeper.errors import DamagedFile
from sweeper.files import read_parsed, write_sealed
from sweeper.identity import Identity, Place, new_id
from sweeper.paths import StudyFolder, Workspace


class Whereabouts(StrEnum):
    """What has become of a folder since its study was last used."""

    SAME = "same"
    RENAMED = "renamed"
    MOVED = "moved"
    COPIED = "copied"


def read_identity(folder: StudyFolder) -> Identity | None:
    """Return what a study's folder says of it. Raises DamagedFile."""
    return read_parsed(folder.identity, Identity.model_validate_json) if folder.identity.exists() else None


def write_identity(folder: StudyFolder, identity: Identity) -> None:
    write_sealed(folder.identity, identity.model_dump_json())


def place_here(workspace: Workspace, folder: StudyFolder, known: str | None = None) -> Place:
    """Return this folder as a place, under the id it is known by or a new one."""
    return Place(
        id=known or new_id(),
        user=_user(),
        host=socket.gethostname(),
        folder=str(workspace.root),
        inode=folder.path.stat().st_ino,
        since_ms=int(time.time() * 1000),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return f"user {getattr(os, 'getuid', int)()}"


def whereabouts(place: Place, here: Place, study: str) -> Whereabouts:
    """Tell what has become of a folder that was at `place` and is `here`.

    A folder of the same inode is the same one, renamed or seen from another machine, unless the original is still
    there: snapshots of a file system keep inodes. Of another machine's folder it cannot be known whether it is still
    there: this one then counts as its copy.
    """
    if (place.host, place.folder) == (here.host, here.folder):
        return Whereabouts.SAME
    if place.inode == here.inode and not _is_snapshot(place, here, study):
        return Whereabouts.SAME if place.folder == here.folder else Whereabouts.RENAMED
    if place.host == here.host and not still_holds(place, study):
        return Whereabouts.MOVED
    return Whereabouts.COPIED


def _is_snapshot(place: Place, here: Place, study: str) -> bool:
    """Return whether two folders of this machine hold the study, and not one folder by two paths."""
    if place.host != here.host or not still_holds(place, study):
        return False
    original, this = (Workspace(Path(one.folder)).study(study).path for one in (place, here))
    try:
        return not original.samefile(this)
    except OSError:
        return False


def still_holds(place: Place, study: str) -> bool:
    """Return whether a place on this machine still holds its study; when in doubt it does."""
    folder = Workspace(Path(place.folder)).study(study)
    try:
        found = read_identity(folder)
    except (OSError, DamagedFile):
        return True
    return found is not None and found.place.id == place.id


def lies_inside(address: str, workspace: Workspace) -> bool:
    """Return whether a database lies in the working directory, and moves and is copied with it."""
    file = sqlite_file(address, workspace.root)
    return file is not None and file.resolve().is_relative_to(workspace.root.resolve())

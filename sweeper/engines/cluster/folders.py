"""A trial's folder in two places: what a worker leaves on its node reaches the driver before its epoch counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeper.engines.cluster.carrier import Carrier, Shipment, receive, send
from sweeper.errors import DiskError
from sweeper.files import part_of, put_in_place
from sweeper.paths import TrialFolder

State = tuple[int, int]
"""Time of change in nanoseconds and size."""


class SentFolder:
    """The node's side: remembers which files of a trial's folder the driver has."""

    def __init__(self, folder: TrialFolder):
        self._folder = folder
        self._known: dict[str, State] = {}

    def take(self, carrier: Carrier, files: Mapping[str, Shipment]) -> None:
        """Write what the driver has of the trial, from which its worker goes on."""
        for name in in_order(self._folder, files):
            receive(carrier, files[name], self._folder.path / name)
        here = dict(files_of(self._folder))  # with what an earlier attempt has left here and could not report
        self._known |= {name: state_of(here[name]) for name in files if name in here}

    def changes(self, carrier: Carrier) -> tuple[dict[str, Shipment], frozenset[str]]:
        """Send what is new; return it, and the names of all files that are there."""
        now = {name: (path, state_of(path)) for name, path in files_of(self._folder)}
        changed = {name: send(carrier, path) for name, (path, state) in now.items() if self._known.get(name) != state}
        self._known = {name: state for name, (_, state) in now.items()}
        return changed, frozenset(now)


class ReceivedFolder:
    """The driver's side: writes what comes, in an order in which a crash between two files leaves a trial whole."""

    def __init__(self, folder: TrialFolder, known: Iterable[str]):
        self._folder = folder
        self._known = set(known)

    def bring(self, carrier: Carrier, changed: Mapping[str, Shipment], present: frozenset[str]) -> None:
        """Write the changed files and remove those that the worker has removed. Raises what `receive` does."""
        for name in in_order(self._folder, changed):
            receive(carrier, changed[name], self._folder.path / name)
            carrier.drop(changed[name].pieces)
        for name in self._known - present:
            (self._folder.path / name).unlink(missing_ok=True)
        self._known = set(present)


def in_order(folder: TrialFolder, names: Iterable[str]) -> list[str]:
    """Return files of a trial, by their path in its folder, in the order in which they are to be written.

    What a checkpoint refers to comes before it and what says 'ended' last, first in the folds and then in the trial.
    """
    last = [folder.checkpoint_before, folder.checkpoint, folder.history, folder.outcome]
    places = {path.name: place for place, path in enumerate(last, 1)}
    return sorted(names, key=lambda name: ("/" not in name, places.get(name.rpartition("/")[2], 0), name))


def move_into(folder: TrialFolder, arrived: TrialFolder) -> None:
    """Move files that have arrived whole into a trial's folder on the same disk, each at once. Raises DiskError."""
    files = dict(files_of(arrived))
    for name in in_order(folder, files):
        target = folder.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(files[name], target)
        except OSError as error:
            raise DiskError(f"{target} cannot be written: {error.strerror or error}") from error


def files_of(folder: TrialFolder) -> list[tuple[str, Path]]:
    """Return the files of a trial's folder that its worker writes, by their path in it."""
    of_folds = (path for _, fold in folder.folds() for path in (fold.lock, fold.run))
    of_others = {folder.lock, folder.spec, folder.run, *of_folds}
    found = [path for path in sorted(folder.path.rglob("*")) if path.is_file() and path not in of_others]
    whole = [path for path in found if path.suffix != part_of(path).suffix]
    return [(path.relative_to(folder.path).as_posix(), path) for path in whole]


def state_of(path: Path) -> State:
    found = path.stat()
    return found.st_mtime_ns, found.st_size

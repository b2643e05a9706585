"""To which folder a study belongs: decided before anything is written, and refused where it is another."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

from sweeper.errors import ForeignStudy
from sweeper.identity import Identity, Place, new_id
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.ownership import stored_study
from sweeper.search.study_store import StudyStore
from sweeper.study.place import (
    Whereabouts,
    lies_inside,
    place_here,
    read_identity,
    still_holds,
    whereabouts,
    write_identity,
)

logger = logging.getLogger(__name__)

MOVING = "moving"
"""In a folder where an earlier study is put aside, until all of it is there."""


@dataclass(frozen=True)
class Claim:
    """A study as it is to be from now on.

    `override`: the storage lies in this folder, or the user says so, and what it says of another place does not
    count. `earlier`: what the folder holds is of an earlier study, to be put aside under this name. `news` is said.
    """

    study: str
    identity: Identity
    override: bool = False
    earlier: str | None = None
    news: str | None = None


def claim_study(workspace: Workspace, storage_url: str, study: str, *, adopt: bool = False) -> Claim:
    """Decide whether a study may be continued in this folder; nothing is written.

    Only the holder of the study's lock may ask. `adopt` takes it from the folder that it belongs to. Raises
    ForeignStudy where it belongs to another folder, DamagedFile.
    """
    local, stored = read_identity(workspace.study(study)), stored_study(storage_url, study)
    case = _Case(workspace, study, local, adopt, adopt or lies_inside(storage_url, workspace))
    if stored is None or (stored.begins and local is not None and not case.has_run):
        return case.new()  # or of a run that died when the storage had the study, and not yet its id
    if stored.identity is None:
        return case.without_id()
    if local is None or not (local.id == stored.identity.id or case.has_run):
        return case.without_folder(stored.identity)
    if local.id != stored.identity.id:
        return case.of_another_study(local, stored.identity)
    return case.known(local, stored.identity)


@dataclass(frozen=True)
class _Case:
    """What a claim is decided by: what the folder says, and whether the storage's word counts against it."""

    workspace: Workspace
    study: str
    local: Identity | None
    adopt: bool
    override: bool

    @property
    def folder(self) -> StudyFolder:
        return self.workspace.study(self.study)

    @property
    def has_run(self) -> bool:
        """Whether a study of this name has been run in this folder."""
        return self.folder.card.exists()

    @cached_property
    def here(self) -> Place:
        """This folder, as a place that nobody knows yet."""
        return place_here(self.workspace, self.folder)

    @property
    def shown_folder(self) -> str:
        return str(self.folder.path.relative_to(self.workspace.root))

    def new(self) -> Claim:
        """Begin a study that the storage does not hold; a folder that has run one of this name holds an earlier one."""
        if not self.has_run:
            known = self.local.id if self.local else new_id()
            return Claim(self.study, Identity(id=known, place=self.here))
        earlier = self.local.id if self.local else "earlier"
        whose = self.local or "by an earlier version of sweeper"
        news = (
            f"the study {self.study} was run in this folder before ({whose}) and is not in the storage any more. This "
            f"is another study; what the earlier one has left in {self.shown_folder} is kept beside it, in "
            f"{self.workspace.earlier_study(self.study, earlier).name}"
        )
        return Claim(self.study, self._another_study(), earlier=earlier, news=news)

    def _another_study(self) -> Identity:
        """Return a new study of a folder that stays the place that it was for an earlier one."""
        if self.local is None:
            return Identity(id=new_id(), place=self.here)
        known = _placed(self.local, self.here, whereabouts(self.local.place, self.here, self.study))
        place = known.place.model_copy(update={"since_ms": self.here.since_ms})
        return known.model_copy(update={"id": new_id(), "place": place, "adopted": False})

    def without_id(self) -> Claim:
        """Give an id to a study that an earlier version of sweeper began, if that was here as far as can be known."""
        if not (self.override or self.has_run):
            raise ForeignStudy(
                f"the study {self.study} in this storage was begun in another folder, by an earlier version of "
                f"sweeper: continue it there, or give yours another `study:` name. If that folder is no longer used, "
                f"let it belong to this one: sweeper doctor {self.study} --adopt"
            )
        known = self.local.id if self.local else new_id()
        return Claim(self.study, Identity(id=known, place=self.here, adopted=True), self.override)

    def without_folder(self, stored: Identity) -> Claim:
        """Go on with a study that this folder does not know, if the folder that it belongs to is gone."""
        place = stored.place
        was_here = (place.host, place.folder) == (self.here.host, self.here.folder)
        gone = was_here or (place.host == self.here.host and not still_holds(place, self.study))
        if not (gone or self.override):
            raise ForeignStudy(_belongs_elsewhere(self.study, stored))
        comes_after = gone or self.adopt
        identity = stored.moved_to(self.here) if comes_after else stored.model_copy(update={"place": self.here})
        of_another = self.has_run and not was_here
        news = _handed_over(self.study, place) if self.adopt else None
        return Claim(self.study, identity, self.override, "earlier" if of_another else None, news)

    def of_another_study(self, local: Identity, stored: Identity) -> Claim:
        """Refuse to mix two studies in one folder; adopting the stored one puts the other aside."""
        if self.adopt:
            news = _handed_over(self.study, stored.place)
            return Claim(self.study, stored.moved_to(self.here), override=True, earlier=local.id, news=news)
        raise ForeignStudy(
            f"{self.shown_folder} holds another study {self.study} ({local}) than this storage does ({stored}): name "
            "the storage that it was begun in with --storage, give yours another `study:` name, or run it in another "
            "folder"
        )

    def known(self, local: Identity, stored: Identity) -> Claim:
        """Go on with a study that this folder has run, or that was copied here from one that has."""
        found = whereabouts(local.place, self.here, self.study)
        identity = _placed(local, self.here, found)
        news = _news(self.study, local, self.here, found)
        before = [place for place in (local.place, stored.place) if self.adopt and not identity.stands_for(place.id)]
        if before:
            news = _handed_over(self.study, before[-1])
            ids = dict.fromkeys(place.id for place in before)
            identity = identity.model_copy(update={"formerly": (*identity.formerly, *ids)})
        taken_away = local.place.id in stored.formerly  # with --adopt, by a folder that uses the storage from outside
        override = self.adopt or (self.override and not taken_away)
        if not (override or identity.stands_for(stored.place.id)):
            copied = found is Whereabouts.COPIED and not taken_away
            raise ForeignStudy(_is_a_copy(self.study, local) if copied else _belongs_elsewhere(self.study, stored))
        return Claim(self.study, identity, override, news=news)


def identity_here(workspace: Workspace, study: str) -> Identity | None:
    """Return what a folder says of a study, in the place where the folder is now. Raises DamagedFile."""
    folder = workspace.study(study)
    local = read_identity(folder)
    if local is None:
        return None
    here = place_here(workspace, folder)
    return _placed(local, here, whereabouts(local.place, here, study))


def _placed(local: Identity, here: Place, found: Whereabouts) -> Identity:
    """Return a study in the place where its folder is now."""
    match found:
        case Whereabouts.SAME | Whereabouts.RENAMED:
            return local.moved_to(here.model_copy(update={"id": local.place.id, "since_ms": local.place.since_ms}))
        case Whereabouts.MOVED:
            return local.moved_to(here)
        case Whereabouts.COPIED:  # what was claimed for the original is not this one's
            return local.model_copy(update={"place": here, "formerly": ()})


def _news(study: str, local: Identity, here: Place, found: Whereabouts) -> str | None:
    if found is Whereabouts.SAME or local.place.folder == here.folder:
        return None
    if found is Whereabouts.COPIED:
        return (
            f"this folder is a copy of {local.place.folder} on {local.place.host}: the databases here go on without "
            f"those of the original, and records of {study} on a server stay the original's"
        )
    return (
        f"this folder was {local.place.folder} when the study {study} was last run; its records are looked up here now"
    )


def _handed_over(study: str, before: Place) -> str:
    whose = f"{before.folder} of {before.user} on {before.host}"
    return f"the study {study} now belongs to this folder, no longer to {whose}"


def _belongs_elsewhere(study: str, stored: Identity) -> str:
    return (
        f"the study {study} in this storage belongs to another folder ({stored}): continue it there, or give yours "
        f"another `study:` name. If that folder is no longer used, let the study belong to this one: "
        f"sweeper doctor {study} --adopt (with the same --storage, where you name one)"
    )


def _is_a_copy(study: str, local: Identity) -> str:
    return (
        f"this folder is a copy, and the study {study} in this storage belongs to the original ({local}): records of "
        f"both would mix. Continue it there, or give yours another `study:` name. If the original is no longer used, "
        f"let the study belong to this folder: sweeper doctor {study} --adopt (with the same --storage, where you "
        "name one)"
    )


def settle(claim: Claim, workspace: Workspace) -> None:
    """Say what was found, and write down in the folder what was decided; the storage follows by `take_storage`."""
    if claim.news:
        logger.warning("%s", claim.news)
    folder = workspace.study(claim.study)
    if claim.earlier is not None:
        _put_aside(workspace, folder, claim)
    if read_identity(folder) != claim.identity:
        write_identity(folder, claim.identity)


def _put_aside(workspace: Workspace, folder: StudyFolder, claim: Claim) -> None:
    """Move all but the lock, which is held, and what a continuation starts from, which has just been fetched."""
    begun = (path for path in workspace.earlier_studies(claim.study) if (path / MOVING).exists())
    aside = next(begun, None) or workspace.earlier_study(claim.study, str(claim.earlier))
    while aside.exists() and not (aside / MOVING).exists():
        aside = aside.with_name(f"{aside.name}~")
    aside.mkdir(parents=True, exist_ok=True)
    (aside / MOVING).touch()
    left = [path for path in folder.path.iterdir() if path not in (folder.lock, folder.start.path)]
    for path in sorted(left, key=lambda path: (path == folder.sweep, path == folder.identity)):
        path.rename(aside / path.name)  # last what says that there is something to put aside, and before it whose
    (aside / MOVING).unlink()


def take_storage(claim: Claim, store: StudyStore) -> None:
    """Let the storage say the same as the folder. Raises ForeignStudy where somebody was faster."""
    store.take_for(claim.identity, override=claim.override)

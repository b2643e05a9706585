"""What a node has of a study: its folder there, the search space with this node's paths, and files that were sent."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.engines.cluster.carrier import Shipment, carrier, receive
from sweeper.engines.cluster.messages import Plan
from sweeper.engines.cluster.versions import Versions
from sweeper.errors import DiskError, ModelError, OtherImages, SweeperError
from sweeper.files import AlreadyLocked, file_lock
from sweeper.modeling.hub import offline_problem
from sweeper.modeling.name_check import backbones_out_of_reach_apart
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import TrialSpec

WAITS_S = (2.0, 8.0)
"""Before the model hub is asked again; a node that is refused gets no trials for as long as the run goes on."""

HELD = "held.lock"
OF_A_SLOT = re.compile(r".+~[0-9a-f]{12}-\d+(-\d+)?")
"""The name of a folder that a driver has made for a slot, from the study's name, the driver's token and a number."""


class OtherVersions(SweeperError):
    """The packages of a node are of other versions than the driver's."""


class Opened(NamedTuple):
    """Whether a node can take trials: its host, and the reason where it cannot."""

    host: str
    refusal: str | None


class StudyOnNode:
    """A study where a node has its part of it, written when this is made.

    Args:
        plan: What the driver says of it.

    Raises:
        OtherVersions, OtherImages, DatasetError, DiskError, ModelError: it cannot be trained here.
    """

    def __init__(self, plan: Plan):
        if differences := plan.versions.differences(Versions.here()):
            raise OtherVersions(f"it has {'; '.join(differences)}: install the same versions there")
        self.carrier = carrier(plan.shared, plan.slot_id)
        self.workspace = Workspace(_node_folder(plan))
        self.folder = self.workspace.study(f"{plan.study}~{plan.slot_id}")
        self._held = _held_alone(self.folder)
        sweep = SweepConfig.model_validate_json(plan.sweep)
        here = {path: str(self._kept(path, shipment)) for path, shipment in plan.files.items()}
        exclude = sweep.dataset.exclude and here.get(sweep.dataset.exclude, sweep.dataset.exclude)
        self.sweep = sweep.model_copy(
            update={
                "model_files": tuple(here.get(path, path) for path in sweep.model_files),
                "dataset": sweep.dataset.model_copy(update={"exclude": exclude}),
            }
        )
        _require_weights(self.sweep)
        if plan.images is not None:
            receive(self.carrier, plan.images, self.folder.images)
            _require_images(self.sweep, self.folder, self.workspace, here)

    def _kept(self, path: str, shipment: Shipment) -> Path:
        """Return where a file of the driver's machine lies here, by its content."""
        file = self.workspace.shipped(shipment.digest, Path(path).name)
        with file_lock(file.with_name(f"{file.name}.lock"), blocking=True):  # other slots of this node want it too
            if not file.exists() or _digest_of(file) != shipment.digest:
                receive(self.carrier, shipment, file)
        return file

    def trial(self, number: int) -> TrialFolder:
        return self.folder.trial(number)

    def with_files(self, group: Sequence[TrialSpec], files: Mapping[str, Shipment]) -> list[TrialSpec]:
        """Return trials with the paths of this node in place of the driver's."""
        here = {path: str(self._kept(path, shipment)) for path, shipment in files.items()}
        return [_with_paths(spec, here) for spec in group]

    def check_images(self) -> None:
        """Raise OtherImages where this node no longer sees the images that the study began with."""
        from sweeper.data.image_guard import ImageGuard

        ImageGuard(self.folder.images, self.sweep.dataset, self.workspace).check()

    def drop_trial(self, number: int) -> None:
        """Remove the folder of a trial, where there is one."""
        shutil.rmtree(self.trial(number).path, ignore_errors=True)

    def drop(self) -> None:
        """Remove the study from this node."""
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self._held.close()


def _held_alone(folder: StudyFolder) -> ExitStack:
    """Hold a slot's folder while this process lives, and remove those of slots that have died without tidying up."""
    held, folders = ExitStack(), folder.path.parent
    folders.mkdir(parents=True, exist_ok=True)
    with file_lock(folders.parent / "slots.lock", blocking=True):
        folder.path.mkdir(exist_ok=True)
        held.enter_context(file_lock(folder.path / HELD, blocking=False))
        slots = [path for path in folders.iterdir() if OF_A_SLOT.fullmatch(path.name) and (path / HELD).exists()]
        for other in (path for path in slots if path != folder.path):
            with suppress(AlreadyLocked, OSError), file_lock(other / HELD, blocking=False):
                shutil.rmtree(other, ignore_errors=True)
    return held


def _with_paths(spec: TrialSpec, here: dict[str, str]) -> TrialSpec:
    changes: dict[str, object] = {}
    if spec.weights in here:
        changes["weights"] = here[spec.weights]
    if spec.config.pretrained in here:
        changes["config"] = spec.config.model_copy(update={"pretrained": here[str(spec.config.pretrained)]})
    if spec.teacher is not None:
        there = spec.teacher.weights
        changes["teacher"] = spec.teacher.model_copy(update={"weights": here.get(there, there)})
    if spec.start is not None:
        optimizer = here.get(spec.start.optimizer) if spec.start.optimizer else None
        begun = {"weights": here.get(spec.start.weights, spec.start.weights), "optimizer": optimizer}
        changes["start"] = spec.start.model_copy(update=begun)
    return spec.model_copy(update=changes)


def _digest_of(file: Path) -> str:
    """Return what names the content of a file that came here, as `carrier.Shipment` has it."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _node_folder(plan: Plan) -> Path:
    if plan.node_folder:
        return Path(plan.node_folder).expanduser()
    return private_folder(Path(tempfile.gettempdir()) / f"sweeper-{getattr(os, 'getuid', getpass.getuser)()}")


def private_folder(folder: Path) -> Path:
    """Make a folder where everybody may make some. Raises DiskError where others may write into what is there.

    They could put code there that runs with the rights of this user, or other weights than were sent.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status, owner = folder.lstat(), getattr(os, "getuid", lambda: None)()
    if owner is None:  # not on a system where users share such a folder
        return folder
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & stat.S_IWOTH:
        raise DiskError(
            f"{folder} is no folder, belongs to another user, or everybody may write into it: remove it there, or name "
            "another folder with engine.node_folder"
        )
    folder.chmod(0o700)
    return folder


def _require_weights(sweep: SweepConfig) -> None:
    """Raise ModelError where none of the backbones can get its weights from the model hub here."""
    search: Any = sweep.search
    if True not in options(search.pretrained):
        return
    for wait_s in (*WAITS_S, None):
        absent = backbones_out_of_reach_apart(sweep.model_dump_json(by_alias=True))
        if len(absent) < len(options(search.backbone)):
            return
        if wait_s is None:
            raise ModelError(offline_problem(", ".join(absent)))
        time.sleep(wait_s)


def _require_images(sweep: SweepConfig, study: StudyFolder, workspace: Workspace, here: Mapping[str, str]) -> None:
    """Raise OtherImages or DatasetError unless this node sees the images that the study began with.

    `here` says where files that were sent lie on this node.
    """
    from sweeper.data.fetch import is_address, refresh
    from sweeper.data.image_guard import ImageGuard, ImagesAtStart
    from sweeper.data.index import read_listing

    begun = ImagesAtStart.read(study.images)
    if begun is None:
        raise OtherImages("what describes the study's images did not arrive; run the same command again")
    path = sweep.dataset.path
    if path is None or is_address(path):  # its files lie elsewhere on each node
        if path is not None:
            refresh(path, workspace)
        listing = read_listing(sweep.dataset, workspace)
        lists = [*listing.files, *([sweep.dataset.exclude] if sweep.dataset.exclude else [])]
        begun = replace(begun, root=listing.root, lists=[str(file) for file in lists])
        begun.write(study.images)
    elif sweep.dataset.exclude:
        begun = replace(begun, lists=[here.get(file, file) for file in begun.lists])
        begun.write(study.images)
    ImageGuard(study.images, sweep.dataset, workspace).check()

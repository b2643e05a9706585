"""The node's end of a slot: a Ray actor with one worker of the local engine beside it.

The worker is a process of its own, so that what kills it (a crash in compiled code, memory) leaves the actor alive to
say so. The driver may be gone without anyone saying so: it calls at least every few seconds, and when no call has come
for the time of the lease, the actor ends its worker and itself. Until then the driver gives its trials to nobody.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sweeper.config.sweep import SweepConfig
from sweeper.engines.cluster.carrier import Shipment, carrier, receive
from sweeper.engines.cluster.folders import SentFolder
from sweeper.engines.cluster.messages import Answer, Command, GiveUp, Plan, Report, Submit
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import EpochFinished, Event, SlotRetired, TrialEnded, WorkerDied
from sweeper.errors import OtherImages, SweeperError
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec

LOOK_S = 1.0  # between two looks at the lease
LONGEST_LOG = 20_000  # characters of it that are sent


class Opened(NamedTuple):
    """Whether a slot can take trials: its host, and the reason where it cannot."""

    host: str
    refusal: str | None


class RemoteSlot:
    """One slot on a node. All methods may be called at the same time; those that change something hold its lock."""

    def __init__(self, lease_s: float) -> None:
        self._lock = threading.RLock()
        self._lease_s = lease_s
        self._heard = time.monotonic()
        self._engine: LocalEngine | None = None
        self._reports: deque[Report] = deque()
        self._reported = 0
        self._applied = 0
        self._waiting: Submit | None = None
        self._folders: dict[int, SentFolder] = {}
        threading.Thread(target=self._end_without_driver, daemon=True).start()

    def open(self, plan: Plan) -> Opened:
        """Prepare this node for a study and start a worker, or say why that cannot be."""
        host = platform.node()
        differences = plan.versions.differences(Versions.here())
        if differences:
            return Opened(host, f"it has {'; '.join(differences)}: install the same versions there")
        with self._lock:
            self._carrier = carrier(plan.shared, plan.slot_id)
            self._workspace = Workspace(_node_folder(plan))
            self._study = self._workspace.study(f"{plan.study}~{plan.slot_id}")
            try:
                sweep = self._prepared(plan)
            except (SweeperError, OSError) as error:
                return Opened(host, str(error))
            self._heard = time.monotonic()
            self._engine = LocalEngine(sweep, self._workspace, 1, folder=self._study, threads=plan.threads)
        return Opened(host, None)

    def _prepared(self, plan: Plan) -> SweepConfig:
        """Write what the study needs here; return its search space with the paths of this node.

        Raises OtherImages, DatasetError, DiskError.
        """
        sweep = SweepConfig.model_validate_json(plan.sweep)
        here = {path: str(self._kept(path, shipment)) for path, shipment in plan.files.items()}
        sweep = sweep.model_copy(update={"model_files": tuple(here.get(path, path) for path in sweep.model_files)})
        if plan.images is not None:
            receive(self._carrier, plan.images, self._study.images)
            _require_images(sweep, self._study, self._workspace)
        return sweep

    def _kept(self, path: str, shipment: Shipment) -> Path:
        """Return where a file of the driver's machine lies here, by its content."""
        file = self._workspace.shipped(shipment.digest, Path(path).name)
        if not file.exists():
            receive(self._carrier, shipment, file)
        return file

    def exchange(
        self, acknowledged: int, commands: Sequence[tuple[int, Command]], wait_s: float
    ) -> tuple[int, list[Report]]:
        """Take commands, and return the number of the last one that was taken and the reports not acknowledged yet.

        Waits for at most `wait_s` for the first report.
        """
        self.tell(commands)
        engine = self._engine
        if engine is None:
            return self._applied, []
        if not self._outstanding(acknowledged):
            engine.wait(wait_s)
        with self._lock:
            self._heard = time.monotonic()
            for event in engine.events(0):
                self._report(event)
            self._hand_over(engine)
            return self._applied, self._outstanding(acknowledged)

    def _outstanding(self, acknowledged: int) -> list[Report]:
        with self._lock:
            while self._reports and self._reports[0].sequence <= acknowledged:
                self._reports.popleft()
            return list(self._reports)

    def tell(self, commands: Sequence[tuple[int, Command]]) -> None:
        """Take commands in their order; each counts once, however often it comes."""
        with self._lock:
            self._heard = time.monotonic()
            for sequence, command in commands:
                if sequence == self._applied + 1 and self._engine is not None:
                    self._apply(self._engine, command)
                    self._applied = sequence

    def _apply(self, engine: LocalEngine, command: Command) -> None:
        match command:
            case Submit():
                self._waiting = command
                self._hand_over(engine)
            case Answer(number, prune):
                if number in engine.busy:
                    engine.answer(number, prune=prune)
            case GiveUp(number, reason):
                if number in engine.busy:
                    engine.give_up(number, reason)

    def _hand_over(self, engine: LocalEngine) -> None:
        """Give the worker its trials once it can take them: it may have died idle."""
        if self._waiting is None or not engine.idle:
            return
        submit, self._waiting = self._waiting, None
        for spec in submit.group:
            self._folders[spec.number] = SentFolder(self._study.trial(spec.number))
            self._folders[spec.number].take(self._carrier, submit.folders.get(spec.number, {}))
        engine.submit([self._with_files(spec, submit.files) for spec in submit.group])

    def _with_files(self, spec: TrialSpec, files: Mapping[str, Shipment]) -> TrialSpec:
        """Return a trial with the paths of this node in place of the driver's."""
        here = {path: str(self._kept(path, shipment)) for path, shipment in files.items()}
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

    def _report(self, event: Event) -> None:
        self._reported += 1
        report = Report(self._reported, event)
        if isinstance(event, EpochFinished | TrialEnded):
            changed, present = self._folders[event.number].changes(self._carrier)
            report = replace(report, changed=changed, present=present)
        if isinstance(event, WorkerDied | SlotRetired):
            report = replace(report, log=self._printed())
        self._reports.append(report)
        if isinstance(event, TrialEnded):
            del self._folders[event.number]
            shutil.rmtree(self._study.trial(event.number).path, ignore_errors=True)

    def _printed(self) -> str:
        """Return the end of what the worker has printed."""
        logs = sorted(self._study.worker_logs.glob("*.log"))
        return logs[0].read_text(encoding="utf-8", errors="replace")[-LONGEST_LOG:] if logs else ""

    def _end_without_driver(self) -> None:
        while time.monotonic() - self._heard < self._lease_s:
            time.sleep(LOOK_S)
        self.close()
        os._exit(1)

    def close(self) -> None:
        """End the worker and remove what it has left here."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                shutil.rmtree(self._study.path, ignore_errors=True)


def _node_folder(plan: Plan) -> Path:
    if plan.node_folder:
        return Path(plan.node_folder).expanduser()
    return Path(tempfile.gettempdir()) / f"sweeper-{getattr(os, 'getuid', getpass.getuser)()}"


def _require_images(sweep: SweepConfig, study: StudyFolder, workspace: Workspace) -> None:
    """Raise OtherImages or DatasetError unless this node sees the images that the study began with."""
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
    ImageGuard(study.images, sweep.dataset, workspace).check()

"""Slots on the nodes of a Ray cluster: as many as there is room for now, on nodes that come and go."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sweeper.config.engine import RayConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.fetch import is_address
from sweeper.engines.cluster.actors import start_actors
from sweeper.engines.cluster.carrier import NotArrived, SharedCarrier, Shipment, carrier, send
from sweeper.engines.cluster.demand import lacking, left_behind, surplus, without_room
from sweeper.engines.cluster.folders import files_of
from sweeper.engines.cluster.head import Head, connect, head_address
from sweeper.engines.cluster.messages import Answer, Command, GiveUp, Plan, Reserve, Settle, Submit, TrainAhead
from sweeper.engines.cluster.nodes import Node, gpus_of_a_trial, nodes_alive
from sweeper.engines.cluster.places import Place, Share, free_places
from sweeper.engines.cluster.shortage import Waiting, require_room
from sweeper.engines.cluster.slot import Ended, Slot, close_all
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.protocol import (
    Event,
    FoldAhead,
    FoldLeft,
    SlotRetired,
    Spread,
    TrialEnded,
    WorkerDied,
    WorkerReady,
)
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec

logger = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks at which nodes there are
LEASE = 2 / 3
"""Of the patience with a silent node, after which it ends its worker itself: well before its trials start elsewhere."""
MAX_FAILED_STARTS = 3  # of slots on a node, one after the other

MAX_UNMET = 2  # meetings of the devices on some nodes that came to nothing

Happening = tuple[Slot, Event | FoldLeft | Ended]
"""What a slot reports, or that it has ended."""


class RayEngine:
    """Workers on the nodes of a Ray cluster.

    Args:
        sweep: What is run.
        workspace: Where the driver works.
        config: How the cluster is reached, and what of it a trial gets.
        most: The most slots; None for as many as the cluster has room for.
        folder: Where the folders of the trials lie, by default that of the study.

    Raises:
        StudyError: there is no cluster, or none of its nodes could ever take a trial.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        workspace: Workspace,
        config: RayConfig,
        most: int | None = None,
        *,
        folder: StudyFolder | None = None,
    ):
        self._connected = connect(config.address)
        self._head = Head(head_address())
        self._sweep = sweep
        self._workspace = workspace
        self._config = config
        self._folder = folder or workspace.study(sweep.study)
        self._most = most
        self._slots: list[Slot] = []
        self._refused: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._unmet: Counter[frozenset[str]] = Counter()
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._sent: dict[str, Shipment] = {}
        self._token = uuid.uuid4().hex[:12]
        self._started = 0
        self._next_look = 0.0
        self._shared = _absolute(workspace.root, config.shared)  # a node has another current folder
        self._carrier = carrier(self._shared, self._token)
        self._lent: dict[Slot, list[Shipment]] = {}
        """What slots have got of their trials, and need no longer once they are on none."""
        self._remove_what_a_killed_driver_left()
        nodes = nodes_alive()
        gpus = gpus_of_a_trial(config, nodes, sweep.device, sweep.devices_per_trial)
        self._share = Share(config.cpus_per_trial, gpus, sweep.devices_per_trial, sweep.device)
        self._spread = config.spread and sweep.devices_per_trial > 1
        self._waiting = Waiting(self._share, spread=self._spread)
        require_room(nodes, self._share, spread=self._spread)
        self._follow_cluster()

    def _remove_what_a_killed_driver_left(self) -> None:
        """Remove files that were on their way to or from an earlier driver of the study, and note whose are ours."""
        shutil.rmtree(self._folder.arriving, ignore_errors=True)
        if isinstance(self._carrier, SharedCarrier):
            with suppress(FileNotFoundError):
                self._carrier.remove_all_of(self._folder.sender.read_text(encoding="utf-8"))
            write_whole(self._folder.sender, self._token)

    def _follow_cluster(self) -> None:
        """Start slots where there is room for more, and lose those that would wait for a node that is gone."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        if not self._head.answers():  # trials go on meanwhile; a question to it would wait
            return
        alive = nodes_alive()
        for slot, node in left_behind(self._slots, alive):
            self._ended(slot, Ended(node, f"{node.host}: it has left the cluster", again=True))
        nodes = self._usable(alive)
        waited_for = without_room(self._slots) if self._most is not None else set()
        others = [node for node in nodes if node.id not in waited_for]
        places = self._free_places(others, [slot.place for slot in self._slots])
        self._slots += [self._start(place) for place in islice(places, lacking(self._slots, self._most))]
        self._end_surplus()
        self._waiting.look(self._slots, nodes)

    def _free_places(self, nodes: Sequence[Node], taken: Sequence[Place]) -> Iterator[Place]:
        apart = [ids for ids, times in self._unmet.items() if times >= MAX_UNMET]
        return free_places(nodes, taken, self._share, spread=self._spread, apart=apart)

    def _usable(self, nodes: Sequence[Node]) -> list[Node]:
        return [node for node in nodes if node.id not in self._refused]

    def _start(self, place: Place) -> Slot:
        self._started += 1
        actors = start_actors(place, self._share, LEASE * self._config.patience)
        plans = self._plans(place, f"{self._token}-{self._started}")
        slot = Slot(actors, place, plans, self._folder, self._config.patience, self._heard, self._ended)
        slot.start()
        return slot

    def _plans(self, place: Place, slot_id: str) -> list[Plan]:
        """Return what each node of a slot must know."""
        plan = self._plan(slot_id)
        if len(place.parts) == 1:
            return [plan]
        key = secrets.token_bytes(32)
        return [
            replace(
                plan,
                slot_id=f"{slot_id}-{part.first}",
                threads=max(1, int(self._share.cpus * part.here / self._share.devices)),
                spread=Spread(part.first, part.here, part.node.address, place.lead.address, key),
            )
            for part in place.parts
        ]

    def _plan(self, slot_id: str) -> Plan:
        root = self._workspace.root
        dataset = self._sweep.dataset
        absolute = {name: _absolute(root, getattr(dataset, name)) for name in ("path", "exclude")}
        sweep = self._sweep.model_copy(update={"dataset": dataset.model_copy(update=absolute)})
        images = self._folder.images
        named = [*self._sweep.model_files, *filter(None, [sweep.dataset.exclude])]
        return Plan(
            sweep=sweep.model_dump_json(by_alias=True),
            study=self._sweep.study,
            slot_id=slot_id,
            node_folder=self._config.node_folder or "",
            threads=max(1, int(self._config.cpus_per_trial)),
            images=self._file(str(images)) if images.exists() else None,
            files={path: self._file(path) for path in named},
            versions=Versions.here(),
            shared=self._shared,
            alone=self._share.alone,
        )

    def _file(self, path: str) -> Shipment:
        """Return a file on its way; it is sent once for all slots."""
        if path not in self._sent:
            self._sent[path] = send(self._carrier, Path(path))
        return self._sent[path]

    def _heard(self, slot: Slot, event: Event | FoldLeft) -> None:
        self._happenings.put((slot, event))

    def _ended(self, slot: Slot, ended: Ended) -> None:
        self._happenings.put((slot, ended))

    @property
    def idle(self) -> int:
        return sum(slot.idle for slot in self._slots)

    def submit(self, group: Sequence[TrialSpec]) -> None:
        slot = next(slot for slot in self._slots if slot.idle)
        slot.numbers = [spec.number for spec in group]
        folders = {
            spec.number: {name: send(self._carrier, path) for name, path in files_of(self._folder.trial(spec.number))}
            for spec in group
        }
        lent = self._lent.setdefault(slot, [])
        lent += [shipment for sent in folders.values() for shipment in sent.values()]
        files = {path: self._file(path) for spec in group for path in _files_named_by(spec)}
        slot.send(Submit(tuple(group), folders, files))

    def _take_back(self, slot: Slot) -> None:
        """Remove what was sent to a slot of trials that it is on no longer."""
        if not slot.numbers:
            for shipment in self._lent.pop(slot, ()):
                self._carrier.drop(shipment.pieces)

    def events(self, timeout_s: float) -> Iterator[Event]:
        self._follow_cluster()
        wait_s = timeout_s
        while True:
            try:
                happening = self._happenings.get(timeout=wait_s) if wait_s else self._happenings.get_nowait()
            except queue.Empty:
                return
            wait_s = 0
            yield from self._taken(*happening)

    def _taken(self, slot: Slot, event: Event | FoldLeft | Ended) -> list[Event]:
        if slot not in self._slots:  # given up meanwhile: what it says later changes nothing
            return []
        match event:
            case Ended():
                return self._lose(slot, event)
            case WorkerReady(room):
                slot.ready = True
                for part in slot.place.parts:
                    self._failed[part.node.id] = 0
                self._end_surplus()
                if slot not in self._slots:
                    return []
                return [WorkerReady(replace(room, device=f"{room.device} of {slot.place.hosts}"))]
            case TrialEnded(number):
                slot.numbers.remove(number)
                self._take_back(slot)
                self._stop_ahead(number)
                self._end_surplus()
            case FoldLeft():
                self._settle(slot)
                self._end_surplus()
                return []
            case WorkerDied(number, reason):
                slot.ready = False
                if number is not None:
                    slot.numbers.remove(number)
                    if len(slot.place.parts) == 1:  # else other nodes may still be fetching what was sent
                        self._take_back(slot)
                    self._stop_ahead(number)
                return [replace(event, reason=f"{reason} (on {slot.place.hosts})")]
            case SlotRetired(reason, ranks_lost=True):
                place = slot.place
                apart = frozenset(part.node.id for part in place.parts)
                return self._lose(slot, Ended(place.lead, f"{place.hosts}: {reason}", again=False, apart=apart))
            case SlotRetired(reason):
                lead = slot.place.lead
                return self._lose(slot, Ended(lead, f"{lead.host}: {reason}", again=False))
        return [event]

    def _lose(self, slot: Slot, ended: Ended) -> list[Event]:
        """Go on without a slot, for the fault of a node. Its trials are given back."""
        slot.kill()
        self._slots.remove(slot)
        self._settle(slot)
        for number in slot.numbers:
            self._stop_ahead(number)
        for shipment in self._lent.pop(slot, ()):
            self._carrier.drop(shipment.pieces)
        lost: list[Event] = [ended.loss_of(number) for number in slot.numbers]
        if not self._may_start_again(slot, ended):
            lost.append(SlotRetired(ended.reason, self._going_on()))
        elif not lost:
            lost.append(WorkerDied(None, ended.reason, blameless=True))
        self._next_look = 0.0
        return lost

    def _may_start_again(self, slot: Slot, ended: Ended) -> bool:
        """Return whether another slot may start there; else remember the node, or the nodes that are apart."""
        if ended.apart:
            self._unmet[ended.apart] += 1 if ended.again else MAX_UNMET
            return self._unmet[ended.apart] < MAX_UNMET
        again = ended.again
        if again and not slot.ready:
            self._failed[ended.node.id] += 1
            again = self._failed[ended.node.id] < MAX_FAILED_STARTS
        if not again:
            self._refused[ended.node.id] = ended.reason
        return again

    def _going_on(self) -> int:
        """Return how many slots there are, or could be on nodes that were not refused."""
        nodes = self._usable(nodes_alive()) if self._head.answers() else []
        whole = sum(self._share.whole(node) > 0 for node in nodes)
        return len(self._slots) + (whole or len(list(self._free_places(nodes, ()))))

    def answer(self, number: int, *, prune: bool) -> None:
        self._tell(number, Answer(number, prune))

    def _tell(self, number: int, command: Command) -> bool:
        """Tell the slot of a trial something, if there is one."""
        for slot in self._slots:
            if number in slot.numbers:
                slot.send(command)
                return True
        return False

    def train_ahead(self, part: FoldAhead) -> bool:
        spec = part.trial
        files = {path: self._file(path) for path in _files_named_by(spec)}
        if not self._tell(spec.number, Reserve(spec.number, part.fold)):
            return False
        slot = next(slot for slot in self._slots if slot.idle)
        slot.train_ahead(TrainAhead(part, files))
        return True

    def _settle(self, slot: Slot) -> None:
        """Bring the fold that a slot no longer trains to the node of its trial, or let that train it."""
        part, slot.ahead = slot.ahead, None
        if part is None:
            return
        number = part.trial.number
        try:
            files = self._files_of_fold(number, part.fold)
        except (OSError, NotArrived) as error:
            logger.warning("fold %d of trial %d is trained again: %s", part.fold, number, error)
            files = {}
        if self._tell(number, Settle(number, part.fold, files)):
            of_trial = next(other for other in self._slots if number in other.numbers)
            self._lent.setdefault(of_trial, []).extend(files.values())

    def _files_of_fold(self, number: int, fold: int) -> dict[str, Shipment]:
        """Put on its way what a fold has left that has ended."""
        trial = self._folder.trial(number)
        there = files_of(trial) if trial.fold(fold).outcome.exists() else []
        return {name: send(self._carrier, path) for name, path in there if path.is_relative_to(trial.fold(fold).path)}

    def _stop_ahead(self, number: int) -> None:
        """Stop what trains folds of a trial that has ended or has lost its worker."""
        for slot in self._slots:
            slot.stop_ahead(number)

    def give_up(self, number: int, reason: str) -> None:
        self._stop_ahead(number)  # it may be this that the trial waits for
        self._tell(number, GiveUp(number, reason))

    def resize(self, workers: int) -> None:
        self._most, self._next_look = workers, 0.0
        self._end_surplus()

    def _end_surplus(self) -> None:
        """End slots on no trial that are more than were asked for, and those that wait while there are as many."""
        ending = surplus(self._slots, self._most)
        self._slots = [slot for slot in self._slots if slot not in ending]
        for slot in ending:
            self._take_back(slot)
        close_all(ending)

    def close(self) -> None:
        close_all(self._slots)
        self._slots = []
        if isinstance(self._carrier, SharedCarrier):
            self._carrier.close()
            self._folder.sender.unlink(missing_ok=True)
        if self._connected:
            import ray

            ray.shutdown()


def _absolute(root: Path, name: str | None) -> str | None:
    if not name or is_address(name):
        return name
    return str((root / Path(name).expanduser()).absolute())


def _files_named_by(spec: TrialSpec) -> list[str]:
    """Return the files on this machine that a trial begins with."""
    start = spec.start
    taught_by = spec.teacher.weights if spec.teacher else None
    named = [spec.weights, taught_by, spec.config.pretrained, *((start.weights, start.optimizer) if start else ())]
    return [path for path in named if isinstance(path, str) and Path(path).is_file()]

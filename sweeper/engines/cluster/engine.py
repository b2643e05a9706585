"""Slots on the nodes of a Ray cluster: as many as there is room for now, on nodes that come and go."""

from __future__ import annotations

import queue
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.config.engine import RayConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.fetch import is_address
from sweeper.engines.cluster.carrier import Shipment, carrier, send
from sweeper.engines.cluster.folders import files_of
from sweeper.engines.cluster.head import Head, connect, head_address
from sweeper.engines.cluster.messages import Answer, GiveUp, Plan, Submit
from sweeper.engines.cluster.nodes import Node, described, gpus_of_a_trial, nodes_alive
from sweeper.engines.cluster.slot import Slot
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.protocol import Event, SlotRetired, TrialEnded, WorkerDied, WorkerReady
from sweeper.errors import StudyError
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec

LOOK_S = 2.0  # between two looks at which nodes there are
LEASE = 2 / 3
"""Of the patience with a silent node, after which it ends its worker itself: well before its trials start elsewhere."""
MAX_FAILED_STARTS = 3  # of slots on a node, one after the other

Happening = tuple[Slot, Event | None, str, bool]
"""What a slot reports, or None when it has ended, with the reason and whether its node may get another one."""


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
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._sent: dict[str, Shipment] = {}
        self._token = uuid.uuid4().hex[:12]
        self._started = 0
        self._next_look = 0.0
        self._carrier = carrier(config.shared, self._token)
        nodes = nodes_alive()
        self._gpus = gpus_of_a_trial(config, nodes, sweep.device, sweep.devices_per_trial)
        self._require_room(nodes)
        self._follow_cluster()

    def _require_room(self, nodes: Sequence[Node]) -> None:
        if not any(node.slots(self._config.cpus_per_trial, self._gpus) for node in nodes):
            raise StudyError(
                f"no node of the Ray cluster has room for a trial with {self._config.cpus_per_trial:g} CPUs and "
                f"{self._gpus:g} GPUs; it has {described(nodes)}. Set engine.cpus_per_trial or engine.gpus_per_trial"
            )

    def _follow_cluster(self) -> None:
        """Start slots where there is room for more. Those of a node that is gone end by themselves."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        if not self._head.answers():  # trials go on meanwhile; a question to it would wait
            return
        taken = Counter(slot.node.id for slot in self._slots)
        for node in nodes_alive():
            room = node.slots(self._config.cpus_per_trial, self._gpus) - taken[node.id]
            while room > 0 and node.id not in self._refused and (self._most is None or len(self._slots) < self._most):
                self._slots.append(self._start(node))
                room -= 1

    def _start(self, node: Node) -> Slot:
        self._started += 1
        actor = start_actor(node, self._config.cpus_per_trial, self._gpus, LEASE * self._config.patience)
        plan = self._plan(f"{self._token}-{self._started}")
        slot = Slot(actor, node, plan, self._folder, self._config.patience, self._heard, self._ended)
        slot.start()
        return slot

    def _plan(self, slot_id: str) -> Plan:
        root = self._workspace.root
        dataset = self._sweep.dataset
        absolute = {name: _absolute(root, getattr(dataset, name)) for name in ("path", "exclude")}
        sweep = self._sweep.model_copy(update={"dataset": dataset.model_copy(update=absolute)})
        images = self._folder.images
        return Plan(
            sweep=sweep.model_dump_json(by_alias=True),
            study=self._sweep.study,
            slot_id=slot_id,
            node_folder=self._config.node_folder or "",
            threads=max(1, int(self._config.cpus_per_trial)),
            images=self._file(str(images)) if images.exists() else None,
            files={path: self._file(path) for path in self._sweep.model_files},
            versions=Versions.here(),
            shared=self._config.shared,
        )

    def _file(self, path: str) -> Shipment:
        """Return a file on its way; it is sent once for all slots."""
        if path not in self._sent:
            self._sent[path] = send(self._carrier, Path(path))
        return self._sent[path]

    def _heard(self, slot: Slot, event: Event) -> None:
        self._happenings.put((slot, event, "", True))

    def _ended(self, slot: Slot, reason: str, again: bool) -> None:
        self._happenings.put((slot, None, reason, again))

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
        files = {path: self._file(path) for spec in group for path in _files_named_by(spec)}
        slot.send(Submit(tuple(group), folders, files))

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

    def _taken(self, slot: Slot, event: Event | None, reason: str, again: bool) -> list[Event]:
        if slot not in self._slots:  # given up meanwhile: what it says later changes nothing
            return []
        match event:
            case None:
                return self._lose(slot, reason, again)
            case WorkerReady(room):
                slot.ready = True
                self._failed[slot.node.id] = 0
                return [WorkerReady(replace(room, device=f"{room.device} of {slot.node.host}"))]
            case TrialEnded(number):
                slot.numbers.remove(number)
                self._end_surplus()
            case WorkerDied(number, reason):
                slot.ready = False
                if number is not None:
                    slot.numbers.remove(number)
                return [WorkerDied(number, f"{reason} (on {slot.node.host})", event.for_memory)]
            case SlotRetired(reason):
                return self._lose(slot, f"{slot.node.host}: {reason}", again=False)
        return [event]

    def _lose(self, slot: Slot, reason: str, again: bool) -> list[Event]:
        """Go on without a slot. Its trials are given back, and count no attempt: their machine was at fault."""
        slot.kill()
        self._slots.remove(slot)
        lost: list[Event] = [WorkerDied(number, reason, blameless=True) for number in slot.numbers]
        if not slot.ready and again:
            self._failed[slot.node.id] += 1
            again = self._failed[slot.node.id] < MAX_FAILED_STARTS
        if not again:
            self._refused[slot.node.id] = reason
            lost.append(SlotRetired(reason, self._going_on()))
        elif not lost:
            lost.append(WorkerDied(None, reason, blameless=True))
        self._next_look = 0.0
        return lost

    def _going_on(self) -> int:
        """Return how many slots there are, or could be on nodes that were not refused."""
        nodes = [node for node in nodes_alive() if node.id not in self._refused] if self._head.answers() else []
        return len(self._slots) + sum(node.slots(self._config.cpus_per_trial, self._gpus) > 0 for node in nodes)

    def answer(self, number: int, *, prune: bool) -> None:
        for slot in self._slots:
            if number in slot.numbers:
                slot.send(Answer(number, prune))

    def give_up(self, number: int, reason: str) -> None:
        for slot in self._slots:
            if number in slot.numbers:
                slot.send(GiveUp(number, reason))

    def resize(self, workers: int) -> None:
        self._most, self._next_look = workers, 0.0
        self._end_surplus()

    def _end_surplus(self) -> None:
        """End slots that are on no trial while there are more than were asked for."""
        surplus = 0 if self._most is None else max(0, len(self._slots) - self._most)
        for slot in [slot for slot in reversed(self._slots) if not slot.numbers][:surplus]:
            self._slots.remove(slot)
            slot.close()

    def close(self) -> None:
        for slot in self._slots:
            slot.close()
        self._slots = []
        if hasattr(self._carrier, "close"):
            self._carrier.close()
        if self._connected:
            import ray

            ray.shutdown()


def start_actor(node: Node, cpus: float, gpus: float, lease_s: float) -> Any:
    """Start the other end of a slot on a node; Ray never starts it again, since each is started with a new token."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from sweeper.engines.cluster.remote import RemoteSlot

    return (
        ray.remote(RemoteSlot)
        .options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        .remote(lease_s)
    )


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

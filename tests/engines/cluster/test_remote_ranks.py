"""A trial on devices of two nodes, without Ray: both ends are here, and talk by the real connections and processes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines import distant_ranks
from sweeper.engines.cluster.messages import Answer, Command, Meet, Plan, Submit
from sweeper.engines.cluster.remote import RemoteSlot
from sweeper.engines.cluster.remote_ranks import RemoteRanks
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.distant_ranks import await_ranks, call_worker
from sweeper.engines.protocol import EpochFinished, Event, RanksAwaited, Spread, TrialEnded, WorkerDied, WorkerReady
from sweeper.engines.rank import PROCESS_NAME
from sweeper.engines.worker import PROCESS_NAME as WORKER_NAME
from sweeper.errors import RankLost
from sweeper.results import TrialState
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

WITHIN_S = 120.0
HERE = "127.0.0.1"
KEY = b"of this slot alone"
LEAD, OTHER = (Spread(first, 1, HERE, HERE, KEY) for first in (0, 1))


class Slot:
    """The driver's end of a slot on two nodes, which does no more than a test asks for."""

    def __init__(self, plan: Plan, root: Path, lead: Spread = LEAD, other: Spread = OTHER):
        self.worker, self.ranks = RemoteSlot(lease_s=600), RemoteRanks(lease_s=600)
        self._sent: dict[object, list[tuple[int, Command]]] = {self.worker: [], self.ranks: []}
        self._acknowledged = 0
        first, second = (replace(plan, slot_id=name, node_folder=str(root / name)) for name in ("one", "two"))
        assert self.ranks.open(second, other).refusal is None
        assert self.worker.open(replace(first, spread=lead)).refusal is None

    def send(self, to: RemoteSlot | RemoteRanks, command: Command) -> None:
        sent = self._sent[to]
        sent.append((len(sent) + 1, command))
        to.tell(sent)  # all of them, every time

    def submit(self, submit: Submit) -> None:
        self.send(self.ranks, submit)
        self.send(self.worker, submit)

    def next(self, kind: type[Event]) -> Event:
        """Return the next event of a kind; epochs on the way are answered with `go on`."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            _, reports = self.worker.exchange(self._acknowledged, (), 1)
            for report in reports:
                self._acknowledged = report.sequence
                if isinstance(report.event, RanksAwaited):
                    self.send(self.ranks, Meet(report.event.port))
                elif isinstance(report.event, kind):
                    return report.event
                elif isinstance(report.event, EpochFinished):
                    self.go_on()
        raise AssertionError(f"no {kind.__name__} within {WITHIN_S} s")

    def go_on(self) -> None:
        self.send(self.worker, Answer(0, prune=False))

    def close(self) -> None:
        self.worker.close()
        self.ranks.close()


def planned(tmp_path: Path, devices: int) -> Plan:
    content = {
        "study": "s",
        "dataset": {"path": str(write_split_folders(tmp_path / "images"))},
        "search": {"backbone": "test_resnet"},
        "device": "cpu",
        "devices_per_trial": devices,
    }
    return Plan(
        sweep=SweepConfig.model_validate(content).model_dump_json(by_alias=True),
        study="s",
        slot_id="",
        node_folder="",
        threads=1,
        images=None,
        files={},
        versions=Versions.here(),
        shared=f"file://{tmp_path}/shared",
    )


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    with closing(Slot(planned(tmp_path, 2), tmp_path)) as slot:
        slot.next(WorkerReady)
        yield slot


def processes(name: bytes) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() == name.decode() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def test_a_trial_is_trained_by_both_nodes_and_nothing_of_it_is_left_on_the_other(slot: Slot, tmp_path: Path) -> None:
    (rank,) = processes(PROCESS_NAME)
    assert rank.parent() == psutil.Process()  # of the other node's end and not of the worker
    slot.submit(Submit((spec_of(epochs=2),), {0: {}}))
    ended = slot.next(TrialEnded)
    assert isinstance(ended, TrialEnded)
    assert (ended.outcome.state, ended.outcome.epochs) == (TrialState.COMPLETE, 2)
    slot.ranks.close()
    rank.wait(30)
    assert not list(tmp_path.rglob("two/.sweeper/studies/*"))


def test_the_best_epochs_are_averaged_also_by_the_node_that_has_not_written_them(slot: Slot) -> None:
    noisy: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.3}, "scheduler": "constant", "batch_size": 8}
    slot.submit(Submit((spec_of(epochs=6, epoch_soup=4, **noisy),), {0: {}}))
    ended = slot.next(TrialEnded)
    assert isinstance(ended, TrialEnded)
    assert ended.outcome.state is TrialState.COMPLETE, ended.outcome.reason
    assert len(ended.outcome.averaged_epochs) > 1


def test_a_rank_of_another_node_that_is_killed_ends_the_worker_in_the_same_way_and_both_start_anew(slot: Slot) -> None:
    slot.submit(Submit((spec_of(epochs=30),), {0: {}}))
    slot.next(EpochFinished)
    slot.go_on()
    (rank,) = processes(PROCESS_NAME)
    os.kill(rank.pid, signal.SIGKILL)
    died = slot.next(WorkerDied)
    assert isinstance(died, WorkerDied)
    assert (died.number, died.blameless) == (0, False)
    assert "killed by SIGKILL" in died.reason
    slot.next(WorkerReady)
    slot.submit(Submit((spec_of(epochs=2),), {0: {}}))
    assert isinstance(slot.next(TrialEnded), TrialEnded)


def test_a_rank_whose_worker_is_killed_ends_in_bounded_time_and_meets_the_next_worker(slot: Slot) -> None:
    slot.submit(Submit((spec_of(epochs=30),), {0: {}}))
    slot.next(EpochFinished)
    slot.go_on()
    (rank,), (worker,) = processes(PROCESS_NAME), processes(WORKER_NAME)
    worker.kill()
    rank.wait(10)
    slot.next(WorkerReady)
    (following,) = processes(PROCESS_NAME)
    assert following.pid != rank.pid


def test_a_node_that_is_gone_is_nobodys_fault(slot: Slot) -> None:
    slot.submit(Submit((spec_of(epochs=30),), {0: {}}))
    slot.next(EpochFinished)
    slot.go_on()
    for relay in slot.ranks._relays:  # its connections end, as those of a machine do that has lost power
        relay.stop()
    died = slot.next(WorkerDied)
    assert isinstance(died, WorkerDied)
    assert (died.number, died.blameless) == (0, True)
    assert died.reason == "the machine of device 2 of the trial is gone"


def test_a_trial_that_fails_leaves_both_nodes_ready_for_the_next(slot: Slot) -> None:
    slot.submit(Submit((spec_of(number=0, backbone="no_such_network"),), {0: {}}))
    failed = slot.next(TrialEnded)
    assert isinstance(failed, TrialEnded)
    assert failed.outcome.state is TrialState.FAILED
    slot.submit(Submit((spec_of(number=1, epochs=1),), {1: {}}))
    slot.next(EpochFinished)


def test_a_node_that_is_gone_is_nobodys_fault_where_the_worker_has_further_devices_beside_it(tmp_path: Path) -> None:
    lead, other = Spread(0, 2, HERE, HERE, KEY), Spread(2, 1, HERE, HERE, KEY)
    with closing(Slot(planned(tmp_path, 3), tmp_path, lead, other)) as slot:
        slot.next(WorkerReady)
        slot.submit(Submit((spec_of(epochs=30),), {0: {}}))
        slot.next(EpochFinished)
        slot.go_on()
        ranks = processes(PROCESS_NAME)
        assert len(ranks) == 2
        for relay in slot.ranks._relays:
            relay.stop()
        died = slot.next(WorkerDied)
        assert died == WorkerDied(0, "the machine of device 3 of the trial is gone", blameless=True)
        for rank in ranks:
            rank.wait(10)


def test_ranks_that_do_not_call_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distant_ranks, "CALL_S", 0.2)
    ports: list[int] = []
    with pytest.raises(RankLost, match=r"device 2 and 4 of the trial did not reach 127\.0\.0\.1") as lost:
        await_ranks(LEAD, [1, 3], ports.append)
    assert "on any port" in str(lost.value)
    assert len(ports) == 1


def test_a_stranger_is_not_let_in_and_holds_up_nobody() -> None:
    called: list[Connection] = []

    def call(port: int) -> None:
        silent = socket.create_connection((HERE, port))
        with suppress(AuthenticationError, OSError, EOFError):
            call_worker(replace(OTHER, key=b"another"), port, 1)
        called.append(call_worker(OTHER, port, 1))
        silent.close()

    (found,) = await_ranks(LEAD, [1], lambda port: threading.Thread(target=call, args=(port,)).start())
    found.connection.send("begin")
    while not called:
        time.sleep(0.01)
    assert called[0].recv() == "begin"


def test_an_address_that_is_not_this_machines_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RankLost, match=r"cannot listen at 203\.0\.113\.5, its machine's address in the cluster"):
        await_ranks(replace(LEAD, meeting="203.0.113.5"), [1], lambda _: None)

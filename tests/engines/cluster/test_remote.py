"""The node's end of a slot, with a real worker and without Ray: messages may come twice, late, or never."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.data.image_guard import ImagesAtStart
from sweeper.data.prepare import prepare
from sweeper.engines.cluster import lease, on_node
from sweeper.engines.cluster.carrier import SharedCarrier, send
from sweeper.engines.cluster.folders import ReceivedFolder, files_of
from sweeper.engines.cluster.messages import (
    Answer,
    Command,
    GiveUp,
    Plan,
    Report,
    Submit,
)
from sweeper.engines.cluster.on_node import StudyOnNode, private_folder
from sweeper.engines.cluster.remote import RemoteSlot
from sweeper.engines.cluster.versions import Versions
from sweeper.engines.protocol import (
    Aside,
    AtWork,
    EpochFinished,
    Event,
    TrialEnded,
    WorkerDied,
    WorkerReady,
)
from sweeper.errors import DiskError
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

WITHIN_S = 120.0


class Slow(SharedCarrier):
    """Takes a while for each piece."""

    def get(self, piece: Any) -> bytes:
        time.sleep(0.02)
        return super().get(piece)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    content = {
        "study": "s",
        "dataset": {"path": str(write_split_folders(tmp_path / "images"))},
        "search": {"backbone": "test_resnet"},
        "device": "cpu",
    }
    return Plan(
        sweep=SweepConfig.model_validate(content).model_dump_json(by_alias=True),
        study="s",
        slot_id="one",
        node_folder=str(tmp_path / "node"),
        threads=1,
        images=None,
        files={},
        versions=Versions.here(),
        shared=f"file://{tmp_path}/shared",
    )


class Driver:
    """The other end, whose messages a test may repeat or hold back."""

    def __init__(self, slot: RemoteSlot):
        self.slot = slot
        self.sent: list[tuple[int, Command]] = []
        self.acknowledged = 0

    def send(self, command: Command) -> None:
        self.sent.append((len(self.sent) + 1, command))
        self.slot.tell(self.sent)  # all of them, every time

    def next(self, *, acknowledge: bool = True) -> Report:
        """Return the next report that is more than a sign of life."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            _, reports = self.slot.exchange(self.acknowledged, self.sent, 1)
            told = [report for report in reports if not isinstance(report.event, AtWork)]
            if told:
                if acknowledge:
                    self.acknowledged = told[0].sequence
                return told[0]
        raise AssertionError(f"nothing was reported within {WITHIN_S} s")


@pytest.fixture
def driver(plan: Plan) -> Iterator[Driver]:
    with closing(RemoteSlot(lease_s=600)) as slot:
        opened = slot.open(plan)
        assert opened.refusal is None
        driver = Driver(slot)
        assert isinstance(driver.next().event, WorkerReady)
        yield driver


def test_a_file_that_was_changed_on_a_node_is_sent_again(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_bytes(b"as it was sent")
    shipment = send(SharedCarrier(f"file://{tmp_path}/shared", "driver"), tmp_path / "model.py")
    study = StudyOnNode(replace(plan, slot_id="one"))
    kept = study._kept("model.py", shipment)
    kept.write_bytes(b"as somebody left it")
    assert study._kept("model.py", shipment).read_bytes() == b"as it was sent"


def test_a_nodes_folder_is_its_users_own(tmp_path: Path) -> None:
    folder = tmp_path / "sweeper-1"
    assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700
    folder.chmod(0o775)
    assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(DiskError, match=r"everybody may write into it: remove it there, or name .*node_folder"):
        private_folder(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(DiskError, match="is no folder"):
        private_folder(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to others")
def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(DiskError, match="belongs to another user"):
        private_folder(tmp_path / "theirs")


def test_slots_of_one_node_that_want_the_same_file_at_once_both_get_it_whole(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.engines.cluster.carrier.PIECE_BYTES", 10)
    monkeypatch.setattr("sweeper.engines.cluster.on_node.carrier", Slow)
    (tmp_path / "weights").write_bytes(bytes(range(200)))
    shipment = send(SharedCarrier(f"file://{tmp_path}/shared", "driver"), tmp_path / "weights")
    found: list[bytes] = []

    def fetch(slot: str) -> None:
        found.append(StudyOnNode(replace(plan, slot_id=slot))._kept("weights", shipment).read_bytes())

    threads = [threading.Thread(target=fetch, args=(slot,)) for slot in ("one", "two")]
    for thread in threads:
        thread.start()
        time.sleep(0.1)  # while the first is at it
    for thread in threads:
        thread.join()
    assert found == [bytes(range(200))] * 2


def test_a_trial_is_trained_once_however_often_it_is_sent_and_its_files_arrive(driver: Driver, tmp_path: Path) -> None:
    driver.send(Submit((spec_of(epochs=2),), {0: {}}))
    received = ReceivedFolder(TrialFolder(tmp_path / "driver" / "trial-0000"), ())
    carrier = SharedCarrier(f"file://{tmp_path}/shared", "driver")
    seen: list[Event | Aside] = []
    while not seen or not isinstance(seen[-1], TrialEnded):
        report = driver.next()
        seen.append(report.event)
        assert report.present is not None
        received.bring(carrier, report.changed, report.present)
        if isinstance(report.event, EpochFinished):
            assert (tmp_path / "driver/trial-0000/checkpoint.pt").exists()
            driver.send(Answer(0, prune=False))
    assert [event.metrics.epoch for event in seen if isinstance(event, EpochFinished)] == [1, 2]
    assert seen[-1].outcome.state is TrialState.COMPLETE
    assert not (tmp_path / "driver/trial-0000/checkpoint.pt").exists()
    assert (tmp_path / "driver/trial-0000/outcome.json").exists()
    assert not list((tmp_path / "node").rglob("trial-0000"))


def trained(driver: Driver, folder: TrialFolder, root: Path, spec: TrialSpec, until: int) -> TrialOutcome | None:
    """Train on a node from what the driver has, to an epoch or the end; the driver's folder then has all of it."""
    carrier = SharedCarrier(f"file://{root}/shared", "driver")
    there = {name: send(carrier, path) for name, path in files_of(folder)}
    driver.send(Submit((spec,), {spec.number: there}))
    received = ReceivedFolder(folder, there)
    while True:
        report = driver.next()
        assert report.present is not None
        received.bring(carrier, report.changed, report.present)
        if isinstance(report.event, TrialEnded):
            return report.event.outcome
        assert isinstance(report.event, EpochFinished)
        if report.event.metrics.epoch == until < spec.epochs:
            return None
        driver.send(Answer(spec.number, prune=False))


def test_the_epochs_that_are_averaged_go_with_a_trial_to_another_node(plan: Plan, tmp_path: Path) -> None:
    noisy: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.2}, "scheduler": "constant"}
    spec = spec_of(epochs=5, epoch_soup=3, **noisy)
    outcomes = []
    for number, (name, last) in enumerate([("whole", 5), ("moved", 4), ("moved", 5)]):
        with closing(RemoteSlot(lease_s=600)) as slot:
            own = replace(plan, node_folder=str(tmp_path / f"node-{number}"), slot_id=str(number))
            assert slot.open(own).refusal is None
            driver, folder = Driver(slot), TrialFolder(tmp_path / name / "trial-0000")
            assert isinstance(driver.next().event, WorkerReady)
            outcomes.append(trained(driver, folder, tmp_path, spec, until=last))
            assert bool(list(folder.leading.glob("*"))) is (last < spec.epochs)
    whole, _, moved = outcomes
    assert whole is not None
    assert moved is not None
    assert whole.soup == moved.soup is not None
    assert whole.best_metrics == moved.best_metrics
    kept = [(tmp_path / name / "trial-0000/artifacts/weights").iterdir() for name in ("whole", "moved")]
    assert [path.read_bytes() for path in kept[0]] == [path.read_bytes() for path in kept[1]]


def test_a_report_whose_answer_was_lost_comes_again_and_means_the_same(driver: Driver) -> None:
    driver.send(Submit((spec_of(epochs=1),), {0: {}}))
    first = driver.next(acknowledge=False)
    again = driver.next()
    assert again == first
    driver.send(Answer(0, prune=False))
    assert isinstance(driver.next().event, TrialEnded)


def test_a_worker_that_is_given_up_dies_for_the_reason_given(driver: Driver) -> None:
    driver.send(Submit((spec_of(epochs=50),), {0: {}}))
    driver.next()
    driver.send(GiveUp(0, "it was stuck"))
    assert driver.next().event == WorkerDied(0, "it was stuck")
    assert isinstance(driver.next().event, WorkerReady)


def test_an_answer_to_a_trial_that_is_gone_changes_nothing(driver: Driver) -> None:
    driver.send(Answer(7, prune=True))
    driver.send(GiveUp(7, "stuck"))
    driver.send(Submit((spec_of(epochs=1),), {0: {}}))
    assert isinstance(driver.next().event, EpochFinished)


def test_a_node_with_other_versions_is_refused_by_what_differs(plan: Plan) -> None:
    there = Versions(tuple((name, "0.1" if name == "torch" else found) for name, found in plan.versions.of))
    with closing(RemoteSlot(lease_s=600)) as slot:
        opened = slot.open(replace(plan, versions=there))
    assert "it has torch" in str(opened.refusal)
    assert "here 0.1: install the same versions there" in str(opened.refusal)


def test_a_node_that_gets_none_of_the_pretrained_weights_is_refused(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(on_node, "WAITS_S", (0.0,))
    sweep = SweepConfig.model_validate_json(plan.sweep)
    search = sweep.search.model_copy(update={"pretrained": True})
    text = sweep.model_copy(update={"search": search}).model_dump_json(by_alias=True)
    with closing(RemoteSlot(lease_s=600)) as slot:
        opened = slot.open(replace(plan, sweep=text))
    assert "the pretrained weights of test_resnet are not on this machine" in str(opened.refusal)


def test_the_list_of_images_that_are_left_out_comes_to_the_node(plan: Plan, tmp_path: Path) -> None:
    listed = tmp_path / "driver" / "outliers.csv"
    listed.parent.mkdir()
    listed.write_text("path\ntrain/cat/0000.png\n")
    sweep = SweepConfig.model_validate_json(plan.sweep)
    sweep = sweep.model_copy(update={"dataset": sweep.dataset.model_copy(update={"exclude": str(listed)})})
    images = tmp_path / "images.npz"
    ImagesAtStart.of(prepare(sweep.dataset, 16, Workspace(tmp_path / "driver"))).write(images)
    sent = {path: send(SharedCarrier(str(plan.shared), plan.slot_id), path) for path in (images, listed)}
    text, files = sweep.model_dump_json(by_alias=True), {str(listed): sent[listed]}
    listed.unlink()  # this node does not see the driver's folder
    study = StudyOnNode(replace(plan, sweep=text, images=sent[images], files=files))
    study.check_images()
    assert Path(str(study.sweep.dataset.exclude)).read_text() == "path\ntrain/cat/0000.png\n"
    study.drop()


def test_a_node_that_hears_nothing_ends_its_worker_and_itself(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(lease, "LOOK_S", 0.05)
    with closing(RemoteSlot(lease_s=1.0)) as closed:
        assert closed.open(plan).refusal is None
    for watch in [thread for thread in threading.enumerate() if thread.name == "lease"]:
        watch.join(WITHIN_S)
    assert not ended  # by a slot that was closed
    slot = RemoteSlot(lease_s=1.0)
    assert slot.open(plan).refusal is None
    deadline = time.monotonic() + WITHIN_S
    while not ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ended == [1]
    assert not (Path(plan.node_folder) / ".sweeper/studies/s~one").exists()


class Sluggish(SharedCarrier):
    """Takes longer than the lease for a piece."""

    slept = False

    def put(self, content: bytes) -> Any:
        if not Sluggish.slept:
            Sluggish.slept = True
            time.sleep(4)
        return super().put(content)


def test_files_that_take_longer_than_the_lease_do_not_end_the_node(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(lease, "LOOK_S", 0.02)
    monkeypatch.setattr("sweeper.engines.cluster.lease.os._exit", ended.append)
    monkeypatch.setattr("sweeper.engines.cluster.on_node.carrier", Sluggish)
    with closing(RemoteSlot(lease_s=600)) as slot:
        assert slot.open(plan).refusal is None
        driver = Driver(slot)
        assert isinstance(driver.next().event, WorkerReady)
        driver.send(Submit((spec_of(epochs=1),), {}, {}))
        slot._lease._seconds = 3.0
        slot._lease.renew()
        events: list[Any] = []
        while not events or not isinstance(events[-1], TrialEnded):
            events.append(driver.next().event)
            if isinstance(events[-1], EpochFinished):
                driver.send(Answer(0, False))
        assert Sluggish.slept
        assert not ended


def test_what_a_dead_slot_has_left_on_a_node_is_removed_by_the_next(plan: Plan) -> None:
    dead, alive = (StudyOnNode(replace(plan, slot_id=f"0123456789ab-{number}")) for number in (1, 2))
    dead._held.close()  # as the kernel does for a process that is killed
    other = dead.folder.path.with_name("mine~old")
    other.mkdir()
    again = StudyOnNode(replace(plan, slot_id="0123456789ab-3"))
    assert not dead.folder.path.exists()
    assert alive.folder.path.exists()
    assert other.exists()
    for study in (alive, again):
        study.drop()

"""Folds of a trial that another node trains ahead: the two ends of that, with real workers and without Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.cluster.carrier import SharedCarrier, Shipment, send
from sweeper.engines.cluster.folders import ReceivedFolder, files_of
from sweeper.engines.cluster.messages import Answer, Plan, Reserve, Settle, StopAhead, Submit, TrainAhead
from sweeper.engines.cluster.remote import RemoteSlot
from sweeper.engines.protocol import EpochFinished, FoldAhead, FoldLeft, TrialEnded, WorkerDied, WorkerReady
from sweeper.paths import TrialFolder
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from tests.engines.cluster.test_remote import WITHIN_S, Driver, plan
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

__all__ = ["plan"]

FOLDS = 3


@pytest.fixture
def folded(plan: Plan, tmp_path: Path) -> Plan:
    """A plan of trials that are cross-validated."""
    images = {"path": str(write_split_folders(tmp_path / "images", train=12)), "folds": FOLDS}
    content = {"study": "s", "dataset": images, "search": {"backbone": "test_resnet"}, "device": "cpu"}
    return replace(plan, sweep=SweepConfig.model_validate(content).model_dump_json(by_alias=True))


class Folded:
    """Two slots, one with a cross-validated trial, and what the driver has of it."""

    def __init__(self, slots: tuple[RemoteSlot, RemoteSlot], root: Path):
        self.of_trial, self.other = (Driver(slot) for slot in slots)
        for driver in (self.of_trial, self.other):
            assert isinstance(driver.next().event, WorkerReady)
        self.folder = TrialFolder(root / "driver" / "trial-0000")
        self.carrier = SharedCarrier(f"file://{root}/shared", "driver")

    def begin(self, spec: TrialSpec) -> None:
        self.of_trial.send(Submit((spec,), {0: {}}))

    def train_ahead(self, spec: TrialSpec, fold: int) -> None:
        self.of_trial.send(Reserve(0, fold))
        self.other.send(TrainAhead(FoldAhead(spec, fold)))

    def bring_fold(self) -> dict[str, Shipment]:
        """Take what the other slot has trained, and put it on its way to the slot of the trial."""
        report = self.other.next()
        assert isinstance(report.event, FoldLeft)
        assert report.present is not None
        ReceivedFolder(self.folder, ()).bring(self.carrier, report.changed, report.present)
        return {name: send(self.carrier, path) for name, path in files_of(self.folder)}

    def end(self) -> TrialOutcome:
        """Answer each fold with `go on`, and return how the trial ends."""
        received = ReceivedFolder(self.folder, ())
        while True:
            report = self.of_trial.next()
            if isinstance(report.event, WorkerDied | WorkerReady):
                continue
            assert report.present is not None
            received.bring(self.carrier, report.changed, report.present)
            if isinstance(report.event, TrialEnded):
                return report.event.outcome
            self.of_trial.send(Answer(0, prune=False))


@pytest.fixture
def pair(folded: Plan, tmp_path: Path) -> Iterator[Folded]:
    with closing(RemoteSlot(lease_s=600)) as one, closing(RemoteSlot(lease_s=600)) as two:
        for number, slot in enumerate((one, two)):
            own = replace(folded, node_folder=str(tmp_path / f"node-{number}"), slot_id=str(number))
            assert slot.open(own).refusal is None
        yield Folded((one, two), tmp_path)


def scores(outcome: TrialOutcome) -> list[tuple[float, int]]:
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    assert len(outcome.folds) == FOLDS
    return [(fold.value, fold.best_epoch) for fold in outcome.folds]


def test_a_fold_that_another_node_has_trained_is_not_trained_again_and_gives_the_same(
    pair: Folded, tmp_path: Path
) -> None:
    spec = spec_of(epochs=3)
    pair.begin(spec)
    pair.train_ahead(spec, 3)
    files = pair.bring_fold()
    assert "fold-3/outcome.json" in files
    assert not list((tmp_path / "node-1").rglob("trial-0000"))
    ahead = (pair.folder.path / "fold-3/outcome.json").read_bytes()
    pair.of_trial.send(Settle(0, 3, files))
    together = pair.end()
    assert (pair.folder.path / "fold-3/outcome.json").read_bytes() == ahead  # its seconds and time stamp too
    assert pair.folder.outcome.exists()
    pair.begin(spec)
    assert scores(pair.end()) == scores(together)


def test_the_worker_of_a_trial_waits_for_a_fold_that_is_reserved(pair: Folded, tmp_path: Path) -> None:
    spec = spec_of(epochs=1)
    pair.begin(spec)
    pair.of_trial.send(Reserve(0, 2))
    pair.of_trial.next()
    pair.of_trial.send(Answer(0, prune=False))
    if sys.platform != "linux":
        pytest.skip("only Linux tells who waits for a lock")
    fold = next((tmp_path / "node-0").rglob("trial-0000")) / "fold-2"
    inode = str((fold / "worker.lock").stat().st_ino)
    deadline = time.monotonic() + WITHIN_S
    while not any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (fold / "history.json").exists()
    pair.of_trial.send(Settle(0, 2, {}))  # the other slot is lost: it has to be trained here
    assert len(scores(pair.end())) == FOLDS


def test_a_fold_is_reserved_for_a_trial_that_waits_for_its_worker_to_start_again(pair: Folded) -> None:
    spec = spec_of(epochs=1)
    pair.of_trial.send(TrainAhead(FoldAhead(spec_of(epochs=500, number=5), 1)))
    pair.of_trial.send(StopAhead(5))
    assert pair.of_trial.next().event == FoldLeft(5, 1)
    pair.begin(spec)
    pair.train_ahead(spec, 3)
    files = pair.bring_fold()
    ahead = (pair.folder.path / "fold-3/outcome.json").read_bytes()
    pair.of_trial.send(Settle(0, 3, files))
    assert len(scores(pair.end())) == FOLDS
    assert (pair.folder.path / "fold-3/outcome.json").read_bytes() == ahead


def await_file(root: Path, pattern: str) -> Path:
    deadline = time.monotonic() + WITHIN_S
    while not (found := list(root.rglob(pattern))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def test_a_fold_that_its_own_worker_is_at_is_not_reserved(pair: Folded, tmp_path: Path) -> None:
    pair.begin(spec_of(epochs=30))
    fold = await_file(tmp_path / "node-0", "fold-1/history.json").parent
    pair.of_trial.send(Reserve(0, 1))
    (tmp_path / "other").write_text("of another slot")
    pair.of_trial.send(Settle(0, 1, {"fold-1/other": send(pair.carrier, tmp_path / "other")}))
    assert not (fold / "other").exists()
    assert len(scores(pair.end())) == FOLDS


def test_a_fold_that_is_stopped_is_left_in_any_case_and_brings_nothing(pair: Folded) -> None:
    pair.train_ahead(spec_of(epochs=500), 3)
    pair.other.send(StopAhead(0))
    report = pair.other.next()
    assert report.event == FoldLeft(0, 3)
    assert report.present is None
    pair.other.send(TrainAhead(FoldAhead(spec_of(epochs=500), 2)))  # while its worker starts again
    pair.other.send(StopAhead(0))
    assert pair.other.next().event == FoldLeft(0, 2)
    pair.other.send(Submit((spec_of(epochs=1),), {0: {}}))
    assert isinstance(pair.other.next().event, WorkerReady)
    report = pair.other.next()
    assert isinstance(report.event, EpochFinished)
    assert report.event.metrics.epoch == 1


def test_a_worker_that_dies_at_a_fold_ahead_says_that_the_fold_is_left(pair: Folded, tmp_path: Path) -> None:
    pair.train_ahead(spec_of(epochs=500), 3)
    await_file(tmp_path / "node-1", "fold-3/history.json")
    engine = pair.other.slot._engine
    assert engine is not None
    engine._slots[0].process.kill()
    report = pair.other.next()
    assert (report.event, report.present) == (FoldLeft(0, 3), None)
    assert isinstance(pair.other.next().event, WorkerReady)

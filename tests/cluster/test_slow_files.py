"""A slot on two nodes while its worker's node is busy with files: real actors, and a worker that does nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.engines.cluster.actors import ONCE, Actors
from sweeper.engines.cluster.messages import Plan, Report
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.on_node import Opened
from sweeper.engines.cluster.places import Part, Place
from sweeper.engines.cluster.remote_ranks import RemoteRanks
from sweeper.engines.cluster.slot import Ended, Slot
from sweeper.engines.protocol import Spread
from sweeper.paths import StudyFolder
from tests.cluster.conftest import Machines, await_that
from tests.engines.cluster.test_remote import plan

__all__ = ["plan"]

pytestmark = pytest.mark.slow

PATIENCE_S, LEASE_S, UPLOAD_S = 12.0, 4.0, 9.0
PLACE = Place(tuple(Part(Node(name, name, 1, 0), first, 1) for first, name in enumerate("ab")))


@pytest.fixture
def ray_here(machines: Machines) -> Iterator[Any]:
    import ray

    machines.add(2)
    ray.init(address=machines.address, log_to_driver=False, logging_level=logging.ERROR)
    yield ray
    ray.shutdown()


def test_files_that_take_long_on_the_node_of_the_worker_do_not_end_the_other_nodes(
    ray_here: Any, plan: Plan, tmp_path: Path
) -> None:
    class Uploading:
        """The node of the worker, each of whose reports takes longer than the lease of the other."""

        def __init__(self) -> None:
            self.answered = 0

        def here(self) -> None:
            pass

        def open(self, _: Plan) -> Opened:
            return Opened("a", None)

        def tell(self, _: object) -> None:
            pass

        def exchange(self, *_: object) -> tuple[int, Sequence[Report]]:
            time.sleep(UPLOAD_S)
            self.answered += 1
            return 0, []

        def answers(self) -> int:
            return self.answered

        def close(self) -> None:
            pass

    lead = ray_here.remote(Uploading).options(**ONCE).remote()
    other = ray_here.remote(RemoteRanks).options(**ONCE).remote(LEASE_S)
    spread = [Spread(rank, 1, "127.0.0.1", "127.0.0.1", b"key") for rank in (0, 1)]
    plans = [replace(plan, shared=None, slot_id=f"s-{each.first}", spread=each) for each in spread]
    ends: list[Ended] = []
    folder = StudyFolder(tmp_path / "study")
    slot = Slot(
        Actors(lead, (other,)), PLACE, plans, folder, PATIENCE_S, lambda *_: None, lambda _, end: ends.append(end)
    )
    slot.start()
    try:
        await_that(lambda: bool(ends) or ray_here.get(lead.answers.remote()) == 2)
        assert not ends
        assert ray_here.get(other.exchange.remote((), 0), timeout=LEASE_S) == (0, None)
    finally:
        slot.kill()

"""Studies in which everything that can go wrong does, by chance that a seed decides.

make simulate                                             # 10,000 seeds
SIMULATE_SEED=17 pytest -s tests/simulation               # one seed, with all that happens
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.invariants import violations
from tests.simulation.setting import setting_of
from tests.simulation.simulation import Simulation
from tests.simulation.world import Endless

AT_ONCE = 10
SEEDS = int(os.environ.get("SIMULATE_SEEDS", "200"))
ONE = os.environ.get("SIMULATE_SEED")
LINES = 40
"""How much of what has happened a failure tells."""


def simulated(seed: int, folder: Path) -> list[str]:
    """Run a seed, and return everything that happened. Raises AssertionError where an invariant does not hold."""
    simulation = Simulation(setting_of(seed), folder)
    happened = simulation.world.happened
    try:
        found = list(violations(simulation, simulation.run()))
        assert not found, "\n".join(found)
    except (Exception, Endless) as error:
        latest = "\n".join(happened[-LINES:])
        again = f"SIMULATE_SEED={seed} pytest -s tests/simulation"
        raise AssertionError(
            f"seed {seed}, after {len(happened)} lines:\n{latest}\n{error!r}\nagain: {again}"
        ) from error
    return [line.replace(str(folder), ".") for line in happened]


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE) if ONE is None else [])
def test_a_study_keeps_its_promises_whatever_goes_wrong(tmp_path: Path, first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SEEDS)):
        simulated(seed, tmp_path / str(seed))


@pytest.mark.parametrize("seed", [3, 40] if ONE is None else [int(ONE)])
def test_a_seed_happens_again_line_by_line(tmp_path: Path, seed: int) -> None:
    happened = simulated(seed, tmp_path / "one")
    assert simulated(seed, tmp_path / "two") == happened  # names of one length: lines are cut at a length
    print("\n".join(happened))

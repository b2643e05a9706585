"""What goes wrong with a simulated worker while it trains an epoch, drawn from a seed."""

from __future__ import annotations

import random
from enum import StrEnum

from sweeper.config.engine import FaultsConfig


class Fault(StrEnum):
    """Each is named as its probability in the search space."""

    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    MACHINE_LOST = "machine_lost"
    SILENT = "silent"
    FAILED = "failed"


class Faults:
    """Draws faults, one after another; the order in which they are asked for is that of the events."""

    def __init__(self, rates: FaultsConfig, dice: random.Random):
        self._rates = rates
        self._dice = dice

    def of_epoch(self) -> Fault | None:
        """Return what strikes in an epoch, mostly nothing."""
        drawn = self._dice.random()
        for fault in Fault:
            drawn -= getattr(self._rates, fault)
            if drawn < 0:
                return fault
        return None

    def moment(self) -> float:
        """Return when it strikes, in epochs from the start of one; a part strikes after its end."""
        return self._dice.uniform(0.0, 1.2)

    def start_fails(self) -> bool:
        """Tell whether a worker dies before it can take a trial."""
        return self._dice.random() < self._rates.start

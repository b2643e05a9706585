"""Workers and machines that trials lose: how often a trial is queued again, and how it ends when given up."""

from __future__ import annotations

import time
from collections import Counter

from sweeper.engines.protocol import WorkerDied
from sweeper.results import TrialOutcome, TrialState, does_not_fit
from sweeper.study.ledger import Ledger

MAX_ATTEMPTS = 3  # how often a trial may lose its worker
MAX_MACHINES = 10  # how often its machine, without an epoch in between
MAX_MEMORY_KILLS = 5  # ... for memory, which quarters its parts: a batch of 256 has then come down to single images


class Losses:
    """Counts what the trials of one driver have lost; each loss says how its trial ends, or None where it goes on."""

    def __init__(self, store: Ledger):
        self._store = store
        self._machines: Counter[int] = Counter()  # since a trial's latest epoch

    def of(self, number: int, died: WorkerDied) -> TrialOutcome | None:
        """Count what a trial has lost: its worker, or with that its machine."""
        if died.blameless:
            return self._of_machine(number, died.reason)
        return self._of_worker(number, died.reason, for_memory=died.for_memory)

    def _of_worker(self, number: int, reason: str, *, for_memory: bool) -> TrialOutcome | None:
        """Count a worker that has died; after too many its trial has failed, or does not fit in memory."""
        most = MAX_MEMORY_KILLS if for_memory else MAX_ATTEMPTS
        if self._store.count_attempt(number, for_memory=for_memory) < most:
            return None
        why = f"{reason}, {most} times"
        return _given_up(TrialState.PRUNED, does_not_fit(why)) if for_memory else _given_up(TrialState.FAILED, why)

    def _of_machine(self, number: int, reason: str) -> TrialOutcome | None:
        """Count a machine that was lost, for which its trial is not at fault."""
        self._machines[number] += 1
        if self._machines[number] < MAX_MACHINES:
            return None
        return _given_up(TrialState.FAILED, f"{reason}, {MAX_MACHINES} times without an epoch")

    def epoch_finished(self, number: int) -> None:
        """Take in an epoch, after which the machines of a trial are counted anew."""
        self._machines.pop(number, None)


def _given_up(state: TrialState, why: str) -> TrialOutcome:
    feasible = state is TrialState.FAILED
    return TrialOutcome(state=state, feasible=feasible, reason=why, timestamp_ms=int(time.time() * 1000))

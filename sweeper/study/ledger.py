"""What a driver works through: the trials of a study, or repetitions of its leaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from sweeper.config.sweep import SweepConfig
from sweeper.errors import DamagedFile
from sweeper.files import write_sealed
from sweeper.paths import TrialFolder
from sweeper.results import Cut, TrialOutcome, TrialRow, TrialSpec, TrialState, read_history, read_outcome


class Ledger(Protocol):
    """Says what runs next and keeps how it ended, over any crash. Only the driver that holds the lock may write."""

    @property
    def sweep(self) -> SweepConfig: ...

    @property
    def budget(self) -> int:
        """How many there will be in all."""

    @property
    def seconds_used(self) -> float:
        """Seconds that earlier runs of the command have spent."""

    def add_seconds_used(self, seconds: float) -> None: ...

    def requeue_interrupted(self) -> list[int]:
        """Put back in the queue what a dead driver left running."""

    def requeue(self, number: int) -> None:
        """Put back in the queue what runs."""

    def next_group(self, size: int, *, interrupted: bool = False) -> list[TrialSpec]:
        """Return what a worker gets next, `interrupted`: only of what had begun; empty when nothing starts now."""

    def has_interrupted(self) -> bool:
        """Return whether some that had begun wait for a worker."""

    def remaining(self) -> int:
        """Return how many are still to finish."""

    def count_attempt(self, number: int, *, for_memory: bool = False) -> int:
        """Note that a worker died, and return how often workers of this one have died for memory, or else."""

    def last_epoch(self, number: int) -> int:
        """Return the last epoch that is known of one that runs, 0 where none is."""

    def report(self, number: int, epoch: int, value: float, learning_rate: float | None = None) -> bool:
        """Take in the objective after an epoch and return whether to prune. Repeating a report is safe."""

    def together(self) -> AbstractContextManager[None]:
        """Store what is reported in the block by its end, in one go where that is faster."""

    def pause(self, number: int, outcome: TrialOutcome) -> None:
        """Record what has been reached by one that pauses; `next_group` may return it again."""

    def paused_to_finish(self) -> int | None:
        """Return which paused one goes on though no more are to start: one, where none is complete."""

    def go_on(self, number: int) -> TrialSpec:
        """Let a paused one go on."""

    def end_paused(self, which: Callable[[int], bool], why: str | None = None) -> list[tuple[int, TrialOutcome]]:
        """Return how those of the paused ones end that do not go on; `finish` is to follow for each.

        `why`: what ended the search, None where all that was to be trained has been.
        """

    def cut(self, number: int, epoch: int, cut: Cut) -> None:
        """Note that one ends with this epoch, and why; `report` says so from now on."""

    def skip(self, number: int) -> None:
        """Note that one that runs is to end with the epoch that it is in."""

    def to_skip(self, number: int) -> bool:
        """Return whether one is to end with the epoch that it is in."""

    def cut_of(self, number: int) -> Cut | None:
        """Return why one that runs was cut short, if it was."""

    def plan_epochs(self, epochs: int) -> None:
        """Give every one that is still to begin this number of epochs."""

    def enqueue(self, configurations: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Queue named configurations; return the names of those that are new and have room."""

    def is_queued(self, name: str, configuration: Mapping[str, Any]) -> bool:
        """Return whether just this is queued under a name, and has not begun."""

    def set_trials(self, trials: int) -> None:
        """Have this number in all. Raises StudyError."""

    def finish(self, number: int, outcome: TrialOutcome, run: str | None = None) -> None:
        """Record how it ended, and its run in MLflow where that is known; after this it is never run again."""

    def rows(self) -> list[TrialRow]: ...

    def close(self) -> None:
        """Nothing more is written."""


def given_up(ledger: Ledger, spec: TrialSpec, outcome: TrialOutcome, folder: TrialFolder) -> TrialOutcome:
    """Report all epochs of a trial that no worker goes on with, and return how it ends, with what it has cost.

    A worker writes an epoch before it tells of it, and MLflow may have it already: the study is to know it too.
    """
    metric, timed = ledger.sweep.objective.metric, (f"time/{ledger.sweep.reported}_s", "time/features_s")
    epochs, seconds = ledger.last_epoch(spec.number), 0.0
    with suppress(DamagedFile):
        for metrics in read_history(folder.history):
            ledger.report(spec.number, metrics.epoch, metrics.values[metric], metrics.values.get("lr"))
            epochs, seconds = metrics.epoch, seconds + sum(metrics.values.get(name, 0.0) for name in timed)
    before = spec.epochs_before if epochs else 0
    return outcome.model_copy(update={"epochs": epochs, "epochs_before": before, "seconds": seconds})


def as_counted(ledger: Ledger, number: int, outcome: TrialOutcome, folder: TrialFolder) -> TrialOutcome:
    """Return how a trial has ended; one that was cut short may count as complete, and its files say so too."""
    cut = ledger.cut_of(number)
    if cut is None or outcome.state is not TrialState.PRUNED or not outcome.feasible:
        return outcome
    known = all(outcome.value_of(goal.metric) is not None for goal in ledger.sweep.objectives)
    state = TrialState.COMPLETE if cut.complete and known else TrialState.PRUNED
    outcome = outcome.model_copy(update={"state": state, "reason": cut.why, "cut": True})
    write_sealed(folder.outcome, outcome.model_dump_json())
    return outcome


def kept_outcome(folder: TrialFolder, outcome: TrialOutcome) -> TrialOutcome:
    """Write how a paused trial ends, and return it; where a driver died after that, it is as that one wrote it."""
    if folder.outcome.exists():
        with suppress(DamagedFile):
            return read_outcome(folder.outcome)
    write_sealed(folder.outcome, outcome.model_dump_json())
    return outcome

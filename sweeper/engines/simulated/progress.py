"""One simulated trial on its worker: what a real one leaves on disk and reports, without training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sweeper.config.sweep import SweepConfig
from sweeper.config.task import METRICS
from sweeper.engines.simulated.curves import Curve, as_metric
from sweeper.errors import DamagedFile
from sweeper.files import write_sealed
from sweeper.paths import TrialFolder
from sweeper.results import (
    SIMULATED,
    EpochMetrics,
    TrialOutcome,
    TrialSpec,
    TrialState,
    read_history,
    read_outcome,
    write_history,
)

MEGABYTES = 512.0


@dataclass
class SimulatedTrial:
    """A trial that goes on from what an earlier worker has left in its folder.

    `told` counts the epochs that the driver has been told of by this worker. `epoch_s` is how long an epoch takes here.
    """

    spec: TrialSpec
    folder: TrialFolder
    curve: Curve
    epoch_s: float
    sweep: SweepConfig
    history: list[EpochMetrics] = field(default_factory=list)
    ended: TrialOutcome | None = None
    told: int = 0
    pruned: bool = False

    def __post_init__(self) -> None:
        try:
            self.history = read_history(self.folder.history)
            self.ended = read_outcome(self.folder.outcome) if self.folder.outcome.exists() else None
        except DamagedFile:  # as a worker does: the trial is trained again
            self.history = []

    @property
    def untold(self) -> EpochMetrics | None:
        """The next epoch that is on disk and the driver has not been told of."""
        return self.history[self.told] if self.told < len(self.history) and not self.pruned else None

    @property
    def complete(self) -> bool:
        """Whether there is no epoch left to train."""
        return self.ended is not None or self.pruned or len(self.history) >= self.spec.until or self._stalled

    @property
    def _stalled(self) -> bool:
        patience, best = self.sweep.budget.patience, self._best
        return patience is not None and best is not None and len(self.history) - best.epoch >= patience

    def train_epoch(self, now_ms: int) -> None:
        """Add an epoch to what is on disk. Raises DiskError."""
        epoch = len(self.history) + 1
        quality = self.curve.qualities[epoch - 1]
        values: dict[str, float] = {metric: as_metric(metric, quality) for metric in METRICS[self.sweep.task.name]}
        rate = self.curve.rates[epoch - 1] if self.curve.rates else float(getattr(self.spec.config.optimizer, "lr", 0))
        values |= {"lr": rate, "time/epoch_s": self.epoch_s, "memory/peak_mb": MEGABYTES}
        history = [*self.history, EpochMetrics(epoch=epoch, values=values, timestamp_ms=now_ms)]
        write_history(self.folder.history, history)
        self.history = history

    def end(self, now_ms: int, failure: str | None = None) -> TrialOutcome:
        """Leave the outcome on disk and return it; one that was there stays, and one that pauses leaves none.

        Raises DiskError.
        """
        if self.ended is None:
            outcome = self._failed(failure) if failure else self._outcome()
            self.ended = outcome.model_copy(update={"timestamp_ms": now_ms, "seconds": self._seconds})
            if outcome.state is not TrialState.PAUSED:
                write_sealed(self.folder.outcome, self.ended.model_dump_json())
        return self.ended

    @property
    def _state(self) -> TrialState:
        if self.pruned:
            return TrialState.PRUNED
        pauses = len(self.history) < self.spec.epochs and not self._stalled
        return TrialState.PAUSED if pauses else TrialState.COMPLETE

    def _failed(self, reason: str) -> TrialOutcome:
        return TrialOutcome(state=TrialState.FAILED, epochs=len(self.history), reason=reason, device=SIMULATED)

    def _outcome(self) -> TrialOutcome:
        best = self._best
        judged: dict[str, float] = {name: best.values[name] for name in METRICS[self.sweep.task.name]} if best else {}
        return TrialOutcome(
            state=self._state,
            epochs=len(self.history),
            best_epoch=best.epoch if best else None,
            best_value=best.values[self.sweep.objective.metric] if best else None,
            best_metrics=judged,
            device=SIMULATED,
            costs=self._costs(),
        )

    @property
    def _seconds(self) -> float:
        return math.fsum(metrics.values["time/epoch_s"] for metrics in self.history)

    @property
    def _best(self) -> EpochMetrics | None:
        objective, best = self.sweep.objective, None
        for metrics in self.history:
            value = metrics.values[objective.metric]
            if objective.better(value, best.values[objective.metric] if best else None):
                best = metrics
        return best

    def _costs(self) -> dict[str, float]:
        """Return costs that stand for those of a network: the better ones are the larger ones."""
        size = 1e6 * (1 + 9 * self.curve.qualities[-1])
        return {"parameters": float(round(size)), "latency_ms": size / 1e6}

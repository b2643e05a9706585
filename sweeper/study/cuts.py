"""Whether a trial ends with an epoch: it is pruned, somebody asked for it, or no time is left."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.results import EpochMetrics, TrialSpec
from sweeper.study.ledger import Ledger
from sweeper.study.observer import Observer
from sweeper.study.replays import Replays
from sweeper.study.steering import Steering
from sweeper.study.time_limit import TimeLimit


@dataclass(frozen=True)
class Cuts:
    """Judges epochs that are stored, before their workers are answered."""

    store: Ledger
    observer: Observer
    steering: Steering
    limit: TimeLimit
    replays: Replays

    def ends(self, spec: TrialSpec, metrics: EpochMetrics, *, prune: bool) -> bool:
        """Return whether a trial ends with this epoch, and note why; `prune`: it has been decided that it does.

        Of an epoch that was judged before, what was decided then stands.
        """
        epochs = self.limit.epoch_finished(spec.number, metrics)
        if epochs is not None:
            self.store.plan_epochs(epochs)
            self.observer.epochs_planned(epochs, spec.epochs)
        if prune or self.replays.was_judged(spec.number, metrics):
            return prune
        cut = self.steering.cut(spec.number) or self.limit.cut(spec, metrics)
        if cut is not None:
            self.store.cut(spec.number, metrics.epoch, cut)
        return cut is not None

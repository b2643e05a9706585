"""One study in Optuna's storage: what has been tried, what runs, what comes next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

import optuna
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sweeper.config.sweep import SweepConfig
from sweeper.identity import Identity
from sweeper.results import Cut, TrialOutcome, TrialRow, TrialSpec
from sweeper.search import readable
from sweeper.search.as_written import read_as_written
from sweeper.search.asking import Asking, keep_epochs, spec_of
from sweeper.search.bulk_storage import BulkStorage, Counts
from sweeper.search.ending import end_trial
from sweeper.search.importance import importances
from sweeper.search.lease import Holder, Lease
from sweeper.search.mirror import Mirror
from sweeper.search.ownership import stored_identity, take_for
from sweeper.search.pausing import Pausing
from sweeper.search.pruners import build_study_pruner
from sweeper.search.queue import Queue
from sweeper.search.regret_bound import RegretBound
from sweeper.search.reports import Reports
from sweeper.search.sqlite_wal import begin_log, end_log
from sweeper.search.storage import guarded, open_storage, require_database, storage_errors, study_not_found
from sweeper.search.stored_sweep import as_begun, not_made_here, store_trials, stored_sweep, with_epochs
from sweeper.search.stored_trial import (
    ATTEMPTS,
    BEFORE,
    EPOCHS,
    FINISHED,
    MEMORY_KILLS,
    SECONDS_USED,
    SKIP,
    SWEEP,
    counted,
    paused_after,
)
from sweeper.search.trial_rows import TrialRows
from sweeper.search.untried import Plan


class StudyStore:
    """A study and its trials. Only the driver that holds the study's lock may write."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig, url: str, engine: Engine, *, keeps_log: bool = False):
        self._study = study
        self._url = url
        self._engine = engine
        self._keeps_log = keeps_log
        self._lease: Lease | None = None
        self._live: dict[int, optuna.Trial] = {}
        self._rows = TrialRows("latest" if sweep.dataset.folds else sweep.objective.direction)
        self._queue = Queue(study, sweep)
        self._plan = Plan(study, sweep)
        self._regret = RegretBound(study)
        self._use(sweep, study.user_attrs.get(EPOCHS))

    def _use(self, sweep: SweepConfig, epochs: int | None) -> None:
        """Take up a search space, and the epochs that a deadline leaves to each trial."""
        study = self._study
        self._sweep = sweep = sweep if epochs is None else with_epochs(sweep, epochs)
        before, means = study.user_attrs.get(BEFORE, 0), bool(sweep.dataset.folds)
        study.pruner = build_study_pruner(sweep.pruner, sweep.reports, before, means=means)
        self._reports = Reports(study, sweep)
        self._pausing = Pausing(study, sweep)
        self._asking = Asking(study, sweep)

    @classmethod
    def create_or_load(
        cls, storage_url: str, sweep: SweepConfig, also_require: Callable[[], None] = lambda: None, before: int = 0
    ) -> Self:
        """Open the study of this search space, creating it at first. Raises StudyChanged where it has another one.

        `also_require` raises what else stands against going on, before the storage learns where the images are now.
        `before`: epochs of the trial that all of them go on from.
        """
        with storage_errors(storage_url):
            storage = open_storage(storage_url)
            begin_log(storage.engine)
            study = optuna.create_study(
                storage=Mirror(storage),
                study_name=sweep.study,
                directions=[goal.direction for goal in sweep.goals],
                load_if_exists=True,
            )
            sweep = as_begun(study, sweep, storage_url)
            also_require()
            if before:
                study.set_user_attr(BEFORE, before)
            study.set_user_attr(SWEEP, sweep.model_dump(mode="json", by_alias=True))
            readable.name_metrics(study, sweep)
        return cls(study, sweep, storage_url, storage.engine, keeps_log=True)

    @classmethod
    def load(cls, storage_url: str, name: str) -> Self:
        """Open a study that exists, to read it. Raises StudyNotFound."""
        require_database(storage_url)
        with storage_errors(storage_url):
            storage = open_storage(storage_url)
            with read_as_written(storage.engine):
                try:
                    study = optuna.load_study(study_name=name, storage=storage)
                except KeyError:
                    raise study_not_found(storage, name) from None
                stored = study.user_attrs.get(SWEEP)
                if stored is None:  # whoever began it may have died at once
                    raise not_made_here(storage_url, name) if study.trials else study_not_found(storage, name)
        return cls(study, stored_sweep(stored, name), storage_url, storage.engine)

    @property
    def identity(self) -> Identity | None:
        """The study's id and the place it belongs to; None where an earlier version of sweeper began it."""
        with storage_errors(self._url):
            return stored_identity(self._engine, self._study._study_id)

    @guarded
    def take_for(self, identity: Identity, *, override: bool = False) -> None:
        """Let the study belong to a place. Raises ForeignStudy where it belongs to another, unless `override`."""
        take_for(self._engine, self._study._study_id, self._sweep.study, identity, override=override)

    @contextmanager
    def held(self, holder: Holder, is_dead: Callable[[Holder], bool]) -> Iterator[None]:
        """Be the only one to write to the study, wherever it is stored, until the block or `close` ends it.

        Raises StudyLocked while another process runs it.
        """
        with storage_errors(self._url):
            lease = Lease(self._engine, self._study._study_id, self._sweep.study)
            lease.take(holder, is_dead)
        self._lease = lease
        if isinstance(self._study._storage, Mirror):
            self._study._storage.forget()  # who had it before may have written until now
        try:
            yield
        finally:
            self._let_go()

    @property
    def lease_number(self) -> int | None:
        """The number that every write is held to; None while nobody holds the study through this object."""
        return self._lease.number if self._lease else None

    def _let_go(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(SQLAlchemyError):  # it runs out by itself
                lease.release()

    @guarded
    def close(self) -> None:
        """Leave the storage as others expect to find it; nothing more is written."""
        self._let_go()
        if self._keeps_log:
            end_log(self._engine)

    @property
    def url(self) -> str:
        return self._url

    @property
    def sweep(self) -> SweepConfig:
        return self._sweep

    @property
    def budget(self) -> int:
        """Trials this study will have: the budget's, or all of a smaller search space, and one for each retried."""
        with storage_errors(self._url):
            return self._plan.trials() + self._queue.retries()

    @property
    def seconds_used(self) -> float:
        """Seconds that earlier runs of the command have spent on this study."""
        return float(self._study.user_attrs.get(SECONDS_USED, 0.0))

    @guarded
    def add_seconds_used(self, seconds: float) -> None:
        self._study.set_user_attr(SECONDS_USED, self.seconds_used + seconds)

    @guarded
    def noted(self, name: str) -> dict[str, Any] | None:
        """Return what was noted of the study by a name of `stored_trial` or `card`, None where nothing was."""
        with read_as_written(self._engine):
            return self._study.user_attrs.get(name)

    @guarded
    def note(self, name: str, content: dict[str, Any]) -> None:
        self._study.set_user_attr(name, content)

    @guarded
    def requeue_interrupted(self) -> list[int]:
        """Put every trial a dead driver left running back in the queue, under its own number."""
        begun = self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        running = [trial for trial in begun if paused_after(trial) is None]
        for trial in running:
            self._study._storage.set_trial_state_values(trial._trial_id, OptunaState.WAITING)
        return [trial.number for trial in running]

    @guarded
    def requeue(self, number: int) -> None:
        """Put one live trial back in the queue."""
        self._study._storage.set_trial_state_values(self._live[number]._trial_id, OptunaState.WAITING)
        del self._live[number]

    @guarded
    def next_group(self, size: int, *, interrupted: bool = False) -> list[TrialSpec]:
        """Ask for the next trials: interrupted ones first, then one that has paused; empty when none starts now."""
        if not (interrupted or self._asking.waiting()):
            known = self._study._storage.get_n_trials(self._study._study_id)
            if (number := self._pausing.next(last=known >= self.budget and not self._live)) is not None:
                return [self.go_on(number)]
        numbers = self._asking.group(size, self.budget, interrupted=interrupted)
        return [self._ask(number) for number in numbers]

    @guarded
    def has_interrupted(self) -> bool:
        """Return whether trials that had begun wait for a worker."""
        return bool(self._asking.interrupted())

    def _ask(self, number: int) -> TrialSpec:
        trial, config = self._asking.ask(number)
        self._live[number] = trial
        self._pausing.begin(trial)
        attributes = trial.user_attrs
        self._plan.take_in(number, attributes)
        return spec_of(self._sweep, number, attributes, config)

    def paused_to_finish(self) -> int | None:
        """Return which paused trial goes on though no more are to start: one, where no trial is complete."""
        return self._pausing.paused_to_finish()

    @guarded
    def go_on(self, number: int) -> TrialSpec:
        """Let a paused trial go on."""
        trial = self._live[number] = self._pausing.take_up(number)
        config = self._pausing.go_on(trial)  # which changes what is stored of it
        return spec_of(self._sweep, number, trial.user_attrs, config)

    @guarded
    def pause(self, number: int, outcome: TrialOutcome) -> None:
        """Record what a trial has reached that pauses; `next_group` may return it again."""
        self._pausing.pause(self._live[number], outcome)
        del self._live[number]

    @guarded
    def end_paused(self, which: Callable[[int], bool], why: str | None = None) -> list[tuple[int, TrialOutcome]]:
        """Take up paused trials and return how they end, since none of these goes on; `finish` is to follow."""
        ends = {number: outcome for number, outcome in self._pausing.ends(why).items() if which(number)}
        self._live |= {number: self._pausing.take_up(number) for number in ends}
        return list(ends.items())

    @guarded
    def enqueue(self, configurations: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Queue named configurations, before what the sampler suggests; return the names of the new ones."""
        return self._queue.put(configurations, self.budget)

    @guarded
    def is_queued(self, name: str, configuration: Mapping[str, Any]) -> bool:
        """Return whether just this is queued under a name, and has not begun."""
        return self._queue.holds(name, configuration)

    @guarded
    def retry_failed(self) -> list[int]:
        """Queue the configurations of failed trials once more, beyond the budget; return their numbers."""
        return self._queue.retry_failed()

    @property
    def begun(self) -> bool:
        """Whether there are trials that were not queued by name."""
        return self._queue.begun

    @guarded
    def remaining(self) -> int:
        """Return how many trials are still to finish."""
        finished = self._study._storage.get_n_trials(self._study._study_id, FINISHED)
        return max(self.budget - finished, len(self._live))

    @guarded
    def count_attempt(self, number: int, *, for_memory: bool = False) -> int:
        """Note that the trial's worker died, and return how often workers of it have died for memory, or else."""
        return counted(self._live[number], MEMORY_KILLS if for_memory else ATTEMPTS)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Store what is reported in the block in one transaction at its end; before that no answer may be given."""
        storage: Any = self._study._storage
        with storage_errors(self._url), storage.together():
            yield

    @guarded
    def last_epoch(self, number: int) -> int:
        """Return the last epoch that is known of a live trial, 0 where none is."""
        known = self._study._storage.get_trial(self._live[number]._trial_id)
        return max(known.intermediate_values, default=0)

    @guarded
    def report(self, number: int, epoch: int, value: float, learning_rate: float | None = None) -> bool:
        """Report the objective after an epoch and return whether to prune. Repeating a report is safe.

        `learning_rate` is the one that the epoch was trained with; a pruner may look at it.
        """
        ends = self._reports.take(self._live[number], epoch, value, learning_rate)
        if ends:
            self._train_again(number)  # which a driver that died may not have come to
        return ends

    @guarded
    def cut(self, number: int, epoch: int, cut: Cut) -> None:
        """Note that a trial ends with this epoch, and why; `report` says so from now on."""
        self._reports.cut(self._live[number], epoch, cut)
        self._train_again(number)

    def _train_again(self, number: int) -> None:
        """Queue a trial once more, if it was cut short for that."""
        cut = self.cut_of(number)
        if cut is not None and cut.again:
            self._queue.again(number)

    @guarded
    def skip(self, number: int) -> None:
        """Note that a live trial is to end with the epoch that it is in."""
        self._live[number].set_user_attr(SKIP, True)

    @guarded
    def to_skip(self, number: int) -> bool:
        """Return whether a trial is to end with the epoch that it is in."""
        storage = self._study._storage
        with suppress(KeyError):  # there is no such trial
            trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))
            return SKIP in trial.user_attrs and not trial.state.is_finished()
        return False

    def cut_of(self, number: int) -> Cut | None:
        """Return why a live trial was cut short, if it was."""
        return self._reports.cut_of(self._live[number])

    @guarded
    def plan_epochs(self, epochs: int) -> None:
        """Give every trial that is still to begin this number of epochs."""
        keep_epochs(self._study, self._sweep.budget.epochs)
        self._study.set_user_attr(EPOCHS, epochs)
        self._use(self._sweep, epochs)

    @guarded
    def set_trials(self, trials: int) -> None:
        """Have this number of trials in all. Raises StudyError where there are more already."""
        known = self._study._storage.get_n_trials(self._study._study_id) - self._queue.retries()
        self._sweep = store_trials(self._study, self._sweep, trials, known)
        self._plan = Plan(self._study, self._sweep)

    @guarded
    def finish(self, number: int, outcome: TrialOutcome, run: str | None = None) -> None:
        """Record how a trial ended, and its run in MLflow; after this it is never run again."""
        end_trial(self._study, self._sweep, self._live[number], outcome, run)
        del self._live[number]

    @guarded
    def curves(self, numbers: Collection[int]) -> dict[int, dict[int, float]]:
        """Return the objective after each epoch of some trials, by number and epoch."""
        return self._bulk.curves(self._study._study_id, numbers)

    @guarded
    def importances(self) -> dict[str, float]:
        """Return how much each parameter distinguishes the best tenth of the trials from the rest, summing to 1."""
        return importances(self._study, self._bulk, self._sweep)

    @guarded
    def regret_bound(self, fewest: int) -> float:
        """Return by how much a better trial could probably be better than the best one, as `RegretBound` does."""
        return self._regret.of(fewest)

    @guarded
    def rows(self) -> list[TrialRow]:
        """Return all trials by number."""
        if self._lease is not None:  # Optuna has read them all for its sampler
            return self._rows.of(self._study.get_trials(deepcopy=False))
        return self._rows.read(self._bulk, self._study._study_id)

    @guarded
    def counts(self) -> Counts:
        """Return how many trials there are, without reading them."""
        return self._bulk.counts(self._study._study_id)

    @guarded
    def latest_rows(self, most: int) -> list[TrialRow]:
        """Return by number the latest trials and the first that have not ended, at most this many of each."""
        return self._rows.of(self._bulk.latest_trials(self._study._study_id, most))

    @property
    def _bulk(self) -> BulkStorage:
        cache: Any = self._study._storage
        bulk: BulkStorage = cache._backend  # Optuna's cache, above it, would read all trials whole
        return bulk

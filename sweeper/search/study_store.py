"""One study in Optuna's storage: what has been tried, what runs, what comes next."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sampler import CmaEsConfig, GridConfig
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import hide_credentials
from sweeper.errors import StudyChanged, StudyError, StudyNotFound
from sweeper.results import TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.search.grid import grid
from sweeper.search.pruners import build_pruner
from sweeper.search.samplers import build_sampler, trial_seed
from sweeper.search.suggest import suggest

logger = logging.getLogger(__name__)

FINISHED = (OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL)
STATES = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
ENDINGS = {state: ended for ended, state in STATES.items() if ended in FINISHED}

# User attributes, of the study and of its trials.
SWEEP, SECONDS_USED = "sweep", "seconds_used"
CONFIG, OUTCOME, PRUNED_AT, ATTEMPTS = "config", "outcome", "pruned_at", "attempts"
MEMORY_KILLS = "memory_kills"

FITS_IN_MEMORY = "fits_in_memory"
"""A constraint that only a violation is recorded of: without a value a trial counts as feasible."""


class StudyStore:
    """A study and its trials. Only the driver that holds the study's lock may write."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep
        self._live: dict[int, optuna.Trial] = {}

    @classmethod
    def create_or_load(cls, storage_url: str, sweep: SweepConfig) -> Self:
        """Open the study of this search space, creating it at first.

        Raises StudyChanged when it was started with another search space.
        """
        with _storage_errors(storage_url):
            study = optuna.create_study(
                storage=_storage(storage_url),
                study_name=sweep.study,
                direction=sweep.objective.direction,
                pruner=build_pruner(sweep.pruner, sweep.budget.epochs),
                load_if_exists=True,
            )
            stored = study.user_attrs.get(SWEEP)
            if stored is not None:
                _refuse_changes(sweep, SweepConfig.model_validate(stored))
            study.set_user_attr(SWEEP, sweep.model_dump(mode="json", by_alias=True))
        return cls(study, sweep)

    @classmethod
    def load(cls, storage_url: str, name: str) -> Self:
        """Open a study that exists, to read it. Raises StudyNotFound."""
        with _storage_errors(storage_url):
            storage = _storage(storage_url)
            try:
                study = optuna.load_study(study_name=name, storage=storage)
            except KeyError:
                raise _not_found(storage, name) from None
            stored = study.user_attrs.get(SWEEP)
        if stored is None:
            raise StudyError(f"the study {name} in {hide_credentials(storage_url)} was not made by sweeper")
        return cls(study, SweepConfig.model_validate(stored))

    @staticmethod
    def names(storage_url: str) -> list[str]:
        """Return the names of all studies, the latest first."""
        with _storage_errors(storage_url):
            summaries = optuna.get_all_study_summaries(_storage(storage_url), include_best_trial=False)
        summaries.sort(key=lambda summary: (summary.datetime_start is not None, summary.datetime_start), reverse=True)
        return [summary.study_name for summary in summaries]

    @property
    def sweep(self) -> SweepConfig:
        return self._sweep

    @cached_property
    def _grid(self) -> list[dict[str, Any]] | None:
        if not isinstance(self._sweep.sampler, GridConfig):
            return None
        return grid(self._sweep.search, self._sweep.seed)

    @property
    def budget(self) -> int:
        """Trials this study will have: the budget's, or all of a smaller grid."""
        return self._sweep.budget.trials if self._grid is None else min(self._sweep.budget.trials, len(self._grid))

    @property
    def seconds_used(self) -> float:
        """Seconds that earlier runs of the command have spent on this study."""
        return float(self._study.user_attrs.get(SECONDS_USED, 0.0))

    def add_seconds_used(self, seconds: float) -> None:
        self._study.set_user_attr(SECONDS_USED, self.seconds_used + seconds)

    def requeue_interrupted(self) -> list[int]:
        """Put every trial a dead driver left running back in line, under its own number."""
        running = self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        for trial in running:
            self._study._storage.set_trial_state_values(trial._trial_id, OptunaState.WAITING)
        return [trial.number for trial in running]

    def requeue(self, number: int) -> None:
        """Put one live trial back in line."""
        trial = self._live.pop(number)
        self._study._storage.set_trial_state_values(trial._trial_id, OptunaState.WAITING)

    def next_trial(self) -> TrialSpec | None:
        """Ask for the next trial, an interrupted one first; None when the budget is used up."""
        trials = self._study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == OptunaState.WAITING]
        if not waiting and len(trials) >= self.budget:
            return None
        number = waiting[0] if waiting else len(trials)
        combination = self._grid[number] if self._grid is not None and number < len(self._grid) else None
        self._study.sampler = build_sampler(self._sweep.sampler, self._sweep.seed, number, combination)
        trial = self._study.ask()
        if trial.number != number:
            raise StudyError(
                f"trial {number} was expected and trial {trial.number} came: another program is writing to the "
                f"study {self._sweep.study}; end it, then run the same command again"
            )
        self._live[number] = trial
        config = suggest(self._sweep.search, trial)
        trial.set_user_attr(CONFIG, config.model_dump(mode="json"))
        seed = trial_seed(self._sweep.seed, number)
        kills = int(trial.user_attrs.get(MEMORY_KILLS, 0))
        epochs = self._sweep.budget.epochs
        return TrialSpec(number=number, seed=seed, epochs=epochs, config=config, memory_kills=kills)

    def remaining(self) -> int:
        """Return how many trials are still to finish."""
        finished = sum(trial.state in FINISHED for trial in self._study.get_trials(deepcopy=False))
        return max(self.budget - finished, len(self._live))

    def count_attempt(self, number: int, *, for_memory: bool = False) -> int:
        """Note that the trial's worker died, perhaps for memory, and return how often workers of it have died."""
        trial = self._live[number]
        if for_memory:
            trial.set_user_attr(MEMORY_KILLS, int(trial.user_attrs.get(MEMORY_KILLS, 0)) + 1)
        attempts = int(trial.user_attrs.get(ATTEMPTS, 0)) + 1
        trial.set_user_attr(ATTEMPTS, attempts)
        return attempts

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Report the objective after an epoch and return whether to prune. Repeating a report is safe.

        The decision is stored at once, since the halving pruners give a positive answer only once.
        """
        trial = self._live[number]
        known = self._study._storage.get_trial(trial._trial_id)
        if epoch in known.intermediate_values:
            return known.user_attrs.get(PRUNED_AT) == epoch
        trial.report(value, epoch)
        prune = bool(trial.should_prune())
        if prune:
            trial.set_user_attr(PRUNED_AT, epoch)
        return prune

    def finish(self, number: int, outcome: TrialOutcome) -> None:
        """Record how a trial ended; after this it is never run again."""
        trial = self._live.pop(number)
        trial.set_user_attr(OUTCOME, outcome.model_dump(mode="json"))
        value = outcome.best_value if outcome.state is TrialState.COMPLETE else None
        if not outcome.feasible and self._uses_constraints and FITS_IN_MEMORY not in trial.constraints:
            trial.set_constraint(FITS_IN_MEMORY, 1.0)
        self._study.tell(trial, value, state=ENDINGS[outcome.state])

    @property
    def _uses_constraints(self) -> bool:
        """CMA-ES has no use for constraints and warns of each; the others take them or let them be."""
        return not isinstance(self._sweep.sampler, CmaEsConfig)

    def rows(self) -> list[TrialRow]:
        """Return all trials by number."""
        return [_row(trial, self._sweep.objective.direction) for trial in self._study.get_trials(deepcopy=False)]


def _row(trial: FrozenTrial, direction: str) -> TrialRow:
    stored = trial.user_attrs.get(OUTCOME)
    outcome = TrialOutcome.model_validate(stored) if stored else None
    config = trial.user_attrs.get(CONFIG)
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state],
        value=outcome.best_value if outcome else _best_so_far(trial, direction),
        best_epoch=outcome.best_epoch if outcome else None,
        epochs=outcome.epochs if outcome else len(trial.intermediate_values),
        seconds=outcome.seconds if outcome else _seconds_since(trial),
        ended_ms=int(trial.datetime_complete.timestamp() * 1000) if trial.datetime_complete else None,
        params=trial.params,
        config=TrialConfig.model_validate(config) if config else None,
        reason=outcome.reason if outcome else None,
        outcome=outcome,
    )


def _best_so_far(trial: FrozenTrial, direction: str) -> float | None:
    values = trial.intermediate_values.values()
    if not values:
        return None
    return max(values) if direction == "maximize" else min(values)


def _seconds_since(trial: FrozenTrial) -> float | None:
    return time.time() - trial.datetime_start.timestamp() if trial.datetime_start else None


def _refuse_changes(sweep: SweepConfig, stored: SweepConfig) -> None:
    new, old = sweep.fingerprint(), stored.fingerprint()
    changed = [key for key in new if json.dumps(new[key], sort_keys=True) != json.dumps(old[key], sort_keys=True)]
    if changed:
        raise StudyChanged(
            f"the study {sweep.study} was started with other settings of: {', '.join(changed)}. "
            "Its trials would not be comparable; give the new search space another `study:` name, or undo the change"
        )


def _not_found(storage: optuna.storages.BaseStorage, name: str) -> StudyNotFound:
    known = [study.study_name for study in storage.get_all_studies()]
    there = f"there are {', '.join(known)}" if known else "there is none yet; `sweeper run` makes one"
    return StudyNotFound(f"no study is called {name}; {there}")


def _storage(url: str) -> optuna.storages.RDBStorage:
    # Its warnings tell of conditional parameters sampled on their own, which is as it should be here.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return optuna.storages.RDBStorage(url, engine_kwargs=arguments)


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = str(error.__cause__ or error).split("\n")[0]
        raise StudyError(
            hide_credentials(f"the study storage {url} cannot be used: {cause}. ")
            + "Check that it is reachable and writable, or name another with --storage"
        ) from error

"""What a study trains next: a trial's parameters from the sampler or the grid, and the trial as its worker gets it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import takewhile
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sampler import GridConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.results import TrialSpec
from sweeper.seal import sealed_text
from sweeper.search.grid import grid
from sweeper.search.replay import Redrawing
from sweeper.search.samplers import build_sampler, new_common_space, trial_seed
from sweeper.search.stored_trial import CONFIG, MEMORY_KILLS, OWN_EPOCHS, UNTIL
from sweeper.search.suggest import suggest
from sweeper.search.untried import Untried


class Asking:
    """Asks Optuna for the trials of one study."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep
        self._common_space = new_common_space()
        self._untried = Untried(study, sweep)

    @cached_property
    def _grid(self) -> list[dict[str, Any]] | None:
        wanted = isinstance(self._sweep.sampler, GridConfig)
        return grid(self._sweep.search, self._sweep.seed) if wanted else None

    def group(self, size: int, budget: int, *, interrupted: bool = False) -> list[int]:
        """Return the numbers of the trials that are next; `interrupted`: only of those that have begun.

        Group g has the numbers from g * size up to the next one's first. Of one that was interrupted come those that
        have not ended and no others, so that the numbers say which trials are suggested without knowing of each other.
        """
        waiting = self.interrupted() if interrupted else self.waiting()
        known = budget if interrupted else self._study._storage.get_n_trials(self._study._study_id)
        first = waiting[0] if waiting else known
        group = range(first, (first // size + 1) * size)
        return [number for number in group if number in waiting or known <= number < budget]

    def waiting(self) -> list[int]:
        """Return which trials wait for a worker, in the order in which Optuna gives them out."""
        return [trial.number for trial in self._waiting()]

    def interrupted(self) -> list[int]:
        """Return which trials wait that have begun; they come before those that have not."""
        return [trial.number for trial in takewhile(lambda trial: CONFIG in trial.user_attrs, self._waiting())]

    def _waiting(self) -> list[FrozenTrial]:
        found = self._study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        return sorted(found, key=lambda trial: trial.number)

    def ask(self, number: int) -> tuple[optuna.Trial, TrialConfig]:
        """Return trial `number`, drawn or taken from the line, with its settings stored. Raises StudyError."""
        combination = self._grid[number] if self._grid is not None and number < len(self._grid) else None
        self._study.sampler = build_sampler(
            self._sweep.sampler, self._sweep.seed, number, combination, self._common_space
        )
        trial = self._study.ask()
        if trial.number != number:
            told = f"trial {number} was expected and trial {trial.number} came: another program is writing to the study"
            raise StudyError(f"{told} {self._sweep.study}; end it, then run the same command again")
        config = suggest(self._sweep.search, Redrawing(trial))
        if (other := self._untried.in_place_of(trial)) is not None:
            trial, config = other, suggest(self._sweep.search, Redrawing(other))
        trial.set_user_attr(CONFIG, sealed_text(config.model_dump_json()))
        return trial, config


def keep_epochs(study: optuna.Study, epochs: int) -> None:
    """Let trials that have begun keep their number of epochs, which their runs say, also when they are given anew."""
    for trial in study.get_trials(deepcopy=False, states=(OptunaState.WAITING, OptunaState.RUNNING)):
        if CONFIG in trial.user_attrs and OWN_EPOCHS not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, OWN_EPOCHS, epochs)


def spec_of(sweep: SweepConfig, number: int, attributes: Mapping[str, Any], config: TrialConfig) -> TrialSpec:
    """Return a trial as its worker gets it; `attributes` are those stored of it."""
    return TrialSpec(
        number=number,
        seed=trial_seed(sweep.seed, number),
        epochs=int(attributes.get(OWN_EPOCHS, sweep.budget.epochs)),
        pause_after=attributes.get(UNTIL),
        config=config,
        task=sweep.task,
        memory_kills=int(attributes.get(MEMORY_KILLS, 0)),
        keep_optimizer=sweep.keep_optimizer,
    )

"""How a trial ends in Optuna's storage; after this it is never run again."""

from __future__ import annotations

import optuna

from sweeper.config.sampler import CmaEsConfig
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialState
from sweeper.seal import sealed_text
from sweeper.search import readable
from sweeper.search.stored_trial import ENDINGS, OUTCOME, values_of

FITS_IN_MEMORY = "fits_in_memory"
"""A constraint that only a violation is recorded of: without a value a trial counts as feasible."""


def end_trial(
    study: optuna.Study, sweep: SweepConfig, trial: optuna.Trial, outcome: TrialOutcome, run: str | None
) -> None:
    """Record how a trial ended, and its run in MLflow where that is known."""
    readable.note(trial, sweep, outcome, run)
    trial.set_user_attr(OUTCOME, sealed_text(outcome.model_dump_json()))
    values = values_of(sweep, trial.number, outcome) if outcome.state is TrialState.COMPLETE else None
    constrained = not isinstance(sweep.sampler, CmaEsConfig)  # which has no use for it and warns of each
    if not outcome.feasible and constrained and FITS_IN_MEMORY not in trial.constraints:
        trial.set_constraint(FITS_IN_MEMORY, 1.0)
    study.tell(trial, values, state=ENDINGS[outcome.state])

"""How studies and trials stand in Optuna's storage: states, names of our own attributes, and the row they give."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.seal import SEAL, unsealed_text

FINISHED = (OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL)
STATES = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
ENDINGS = {state: ended for ended, state in STATES.items() if ended in FINISHED}

# User attributes, of the study and of its trials. Configurations and outcomes are JSON text: Optuna keeps the
# attributes of all trials in memory, where nested dictionaries take five times as much.
SWEEP, SECONDS_USED, CONFIRMATION = "sweep", "seconds_used", "confirmation"
CARD, MODEL_FILES = "card", "model_files"  # what its runs record; the content of its model files, by their digests
CONFIG, OUTCOME, PRUNED_AT, ATTEMPTS = "config", "outcome", "pruned_at", "attempts"
ENQUEUED, GIVEN = "enqueued", "given"  # the name of a configuration that was queued, and what it names
RETRY_OF = "retry_of"  # the number of the failed trial whose configuration it has
REPEATS = "repeats"  # of a trial that was asked for by name, and has the parameters of another
OUTSIDE = "outside"  # of a trial that an edited search space no longer holds: its state, its values and why
DECISION = "decision"  # the last one of the pruner that says True or completes a rung
MEMORY_KILLS = "memory_kills"
SKIP = "skip"  # of a trial that is to end with the epoch that it is in
CUT = "cut"  # of a trial that the driver has ended for want of time: why
DEADLINE = "deadline"  # of a study: when the latest run of the command is to end, in seconds since 1970
EPOCHS = "epochs"  # of a study: the most that a trial has, where a deadline leaves fewer than the budget
SECONDS_BESIDE = "seconds_beside_trials"  # of a study: spent by runs with a deadline on preparing and finishing
AT_ONCE = "at_once"  # of a study: how many trials have run at the same time
OWN_EPOCHS = "own_epochs"  # of a trial that began before its study had fewer: how many it began with
RANKED = "ranked_backbones"  # of a study: what a ranking of backbones has found before the study began
BEFORE = "epochs_before"  # of a study whose trials go on from another one: how many epochs that one had
UNTIL, PAUSED = "until", "paused"  # the epoch after which a trial pauses; what it has reached while it does
WENT_ON = "went_on"  # of a trial that has paused: when it went on, and the seconds that it had been trained before
GOALS = "goals"  # what each of several objectives was when the trial paused, by epoch; lower is better

Counts = Literal["maximize", "minimize", "latest"]
"""Which of its values counts of a trial: the largest, the smallest, or the last mean over folds."""

ASIDE = "~"  # in the names of studies that an extension keeps aside; no search space can be called so


def trial_row(trial: FrozenTrial, counts: Counts) -> TrialRow:
    """Return a trial as tables show it; `counts` says which value counts of one that has not ended."""
    stored = stored_json(trial, OUTCOME)
    outcome = TrialOutcome.model_validate_json(stored) if stored else None
    return TrialRow(
        number=trial.number,
        state=_state(trial, outcome),
        value=outcome.best_value if outcome else _value_so_far(trial, counts),
        best_epoch=outcome.best_epoch if outcome else None,
        epochs=outcome.epochs if outcome else max(trial.intermediate_values, default=0),
        seconds=outcome.seconds if outcome else _seconds_so_far(trial),
        ended_ms=int(trial.datetime_complete.timestamp() * 1000) if trial.datetime_complete else None,
        params=trial.params,
        config_json=stored_json(trial, CONFIG),
        reason=outcome.reason if outcome else None,
        outcome=outcome,
        outside=trial.user_attrs[OUTSIDE]["why"] if OUTSIDE in trial.user_attrs else None,
    )


def stored_configuration(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the configuration that a trial was given."""
    stored = stored_json(trial, CONFIG)
    found: dict[str, Any] | None = json.loads(stored) if stored else None
    return found


def paused_after(trial: FrozenTrial) -> int | None:
    """Return the last epoch of a trial that is paused."""
    if trial.state in FINISHED or not trial.user_attrs.get(PAUSED):
        return None
    return max(trial.intermediate_values, default=0)


def counted(trial: Trial, attribute: str) -> int:
    """Count one more in an attribute of a trial, and return the count."""
    count = int(trial.user_attrs.get(attribute, 0)) + 1
    trial.set_user_attr(attribute, count)
    return count


def stored_json(trial: FrozenTrial, attribute: str) -> str | None:
    """Return an attribute that holds JSON; trials of earlier studies hold what it says, and not its text.

    Raises ValueError where it is not what was written.
    """
    stored = trial.user_attrs.get(attribute)
    if stored is None:
        return None
    if isinstance(stored, str):
        return unsealed_text(stored)
    return json.dumps({key: value for key, value in stored.items() if key != SEAL})


def _state(trial: FrozenTrial, outcome: TrialOutcome | None) -> TrialState:
    """Return how a trial stands: for Optuna one outside the search space has failed, and one that pauses runs."""
    if outcome and OUTSIDE in trial.user_attrs:
        return outcome.state
    return STATES[trial.state] if paused_after(trial) is None else TrialState.PAUSED


def _value_so_far(trial: FrozenTrial, counts: Counts) -> float | None:
    values = trial.intermediate_values
    if not values:
        return None
    if counts == "latest":
        return values[max(values)]
    return max(values.values()) if counts == "maximize" else min(values.values())


def _seconds_so_far(trial: FrozenTrial) -> float | None:
    """Return how long a trial that has not ended has been trained, without the time for which it paused.

    None where that is not known: of one that has not begun, or was interrupted and waits to go on.
    """
    if stored := stored_json(trial, PAUSED):
        return TrialOutcome.model_validate_json(stored).seconds
    if trial.datetime_start is None or trial.state is OptunaState.WAITING:
        return None
    went_on = trial.user_attrs.get(WENT_ON) or {"at": 0.0, "seconds": 0.0}
    since = max(float(went_on["at"]), trial.datetime_start.timestamp())  # the latter where it was interrupted later
    return float(went_on["seconds"]) + max(0.0, time.time() - since)


def losses_of(sweep: SweepConfig, outcome: TrialOutcome) -> list[float] | None:
    """Return what each of several objectives is, lower the better; None where one is missing, or there is only one."""
    values = [(goal, outcome.value_of(goal.metric)) for goal in sweep.objectives]
    if not values or any(value is None for _, value in values):
        return None
    return [-value if goal.direction == "maximize" else value for goal, value in values if value is not None]


def values_of(sweep: SweepConfig, number: int, outcome: TrialOutcome) -> list[float]:
    """Return what Optuna learns of a finished trial, one value an objective. Raises StudyError where one is missing."""
    if not sweep.objectives:
        return [] if outcome.best_value is None else [outcome.best_value]
    values = {goal.metric: outcome.value_of(goal.metric) for goal in sweep.objectives}
    if None in values.values():
        raise StudyError(f"trial {number} of {sweep.study} ended without one of its objectives: {values}")
    return [value for value in values.values() if value is not None]

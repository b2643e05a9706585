"""A study that goes on with an edited search space: what has been tried moves over, under its own numbers.

Optuna gives a study its distributions once and for all. So the trials are written into a new study, with
the distributions of the new space, and the two change names in one transaction: a kill leaves the old study or
the new one. The old one stays beside it as `STUDY~1`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection, text

from sweeper.config.pruner import PromoteConfig, rungs
from sweeper.config.space_membership import Fit, fit
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyChanged
from sweeper.results import TrialOutcome, TrialState
from sweeper.seal import sealed_text
from sweeper.search.as_written import read_as_written
from sweeper.search.bulk_adding import add_trials
from sweeper.search.distributions import distribution_of
from sweeper.search.lease import ATTRIBUTE as LEASE
from sweeper.search.lease import LeaseRecord, require_number
from sweeper.search.ownership import ATTRIBUTE as IDENTITY
from sweeper.search.replay import FIXED_PARAMS
from sweeper.search.storage import open_storage, storage_errors
from sweeper.search.stored_sweep import changed_keys, stored_sweep
from sweeper.search.stored_trial import (
    ASIDE,
    AT_ONCE,
    BEFORE,
    CARD,
    CONFIG,
    CONFIRMATION,
    EPOCHS,
    FINISHED,
    GIVEN,
    MODEL_FILES,
    OUTCOME,
    OUTSIDE,
    PAUSED,
    RANKED,
    RETRY_OF,
    SECONDS_BESIDE,
    SECONDS_USED,
    SWEEP,
    UNTIL,
    paused_after,
    stored_json,
)
from sweeper.search.study_store import StudyStore

MAY_CHANGE = {"search", "sampler", "pruner", "model_files"}
BUILDING = f"{ASIDE}extending"
KEPT = {SECONDS_USED, SECONDS_BESIDE, AT_ONCE, EPOCHS, BEFORE, IDENTITY, CARD, MODEL_FILES, RANKED}
"""What the new study has from the old one, beside the trials; and its confirmation, where all leaders move over."""

CMAES = "cma:"
"""Begins what Optuna's CMA-ES keeps in trials: where it stands, in the space that was searched."""

RUNGS = "completed_rung_"
"""Begins what successive halving and Hyperband keep in trials: what each had reached at a rung."""


@dataclass
class Extension:
    """What became of the trials, by number."""

    carried: list[int] = field(default_factory=list)
    outside: dict[int, str] = field(default_factory=dict)
    """Kept as history, and why."""
    left: dict[int, TrialOutcome] = field(default_factory=dict)
    """Of these the ones that were unfinished, and how they end by it."""
    aside: str | None = None
    """The name under which the old study is kept; None where nothing had changed."""
    unconfirmed: bool = False
    """Whether it had a confirmation that counts no more, since it compares a trial that is history now."""


def extend(old: StudyStore, sweep: SweepConfig) -> Extension:
    """Give a study an edited search space. Only the holder of its lock may, whose lease stays with the old study.

    Raises StudyChanged when more has changed than the space, the sampler and the pruner: trials on other data, of
    other length or with another objective could not be compared. StudyTakenOver.
    """
    with storage_errors(old.url):
        storage = open_storage(old.url)
        study = optuna.load_study(study_name=sweep.study, storage=storage)
    # As written: a deadline may have left each trial fewer epochs than the file says.
    changed = changed_keys(sweep, stored_sweep(study.user_attrs[SWEEP], sweep.study))
    if forbidden := [key for key in changed if key not in MAY_CHANGE]:
        raise StudyChanged(
            f"only search, sampler, pruner, model_files and the budget's trials may change when a study is extended, "
            f"got other settings of {', '.join(forbidden)}; undo that, or begin a new study with "
            f"--warm-start-from {sweep.study}"
        )
    if not changed:
        return Extension()
    with storage_errors(old.url):
        return _rebuild(storage, study, sweep, old.lease_number, changed)


def _rebuild(
    storage: optuna.storages.RDBStorage,
    old: optuna.Study,
    sweep: SweepConfig,
    lease: int | None,
    changed: Collection[str],
) -> Extension:
    names = {study.study_name for study in storage.get_all_studies()}
    if sweep.study + BUILDING in names:  # left by a kill
        optuna.delete_study(study_name=sweep.study + BUILDING, storage=storage)
    new = optuna.create_study(
        storage=storage, study_name=sweep.study + BUILDING, directions=[goal.direction for goal in sweep.goals]
    )
    found = Extension()
    with read_as_written(storage.engine):
        epochs = old.user_attrs.get(EPOCHS, sweep.budget.epochs)
        pauses = _pauses(sweep, epochs, old.user_attrs.get(BEFORE, 0))
        moved = [_moved(trial, sweep, pauses, found) for trial in old.get_trials(deepcopy=False)]
    for trial in moved:
        _forget(trial, changed)
    add_trials(storage, new._study_id, moved)
    for name in KEPT & old.user_attrs.keys():
        new.set_user_attr(name, old.user_attrs[name])
    if confirmed := old.user_attrs.get(CONFIRMATION):
        found.unconfirmed = not {leader["trial"] for leader in confirmed["leaders"]} <= set(found.carried)
        if not found.unconfirmed:
            new.set_user_attr(CONFIRMATION, confirmed)
    if lease is not None:
        new.set_user_attr(LEASE, LeaseRecord(number=lease).model_dump(mode="json"))  # the next number is its own again
    new.set_user_attr(SWEEP, sweep.model_dump(mode="json", by_alias=True))
    found.aside = next(
        name for number in range(1, len(names) + 2) if (name := f"{sweep.study}{ASIDE}{number}") not in names
    )
    renamed = {sweep.study: found.aside, sweep.study + BUILDING: sweep.study}
    _swap(storage, renamed, lambda connection: require_number(connection, old._study_id, sweep.study, lease))
    return found


def _forget(trial: FrozenTrial, changed: Collection[str]) -> None:
    """Take from a trial what Optuna has noted in it for another space or pruner; history competes at no rung."""
    stale = [begins for begins, key in ((CMAES, "search"), (RUNGS, "pruner")) if key in changed]
    begins = (*stale, RUNGS) if OUTSIDE in trial.user_attrs else tuple(stale)
    trial.system_attrs = {key: kept for key, kept in trial.system_attrs.items() if not key.startswith(begins)}


def _swap(
    storage: optuna.storages.RDBStorage, renamed: dict[str, str], require_lease: Callable[[Connection], None]
) -> None:
    """Rename studies all at once, which Optuna itself cannot, if nobody has taken them over."""
    with storage.engine.begin() as connection:
        require_lease(connection)
        for before, after in renamed.items():
            connection.execute(
                text("UPDATE studies SET study_name = :after WHERE study_name = :before"),
                {"before": before, "after": after},
            )


def _moved(trial: FrozenTrial, sweep: SweepConfig, pauses: Collection[int], found: Extension) -> FrozenTrial:
    """Return a trial as the new study holds it."""
    config = stored_json(trial, CONFIG)
    if config is None:
        return _not_begun(trial, sweep, found)
    fitted = fit(sweep.search, json.loads(config))
    if not fitted.misfits:
        found.carried.append(trial.number)
        return _carried(trial, fitted, pauses)
    found.outside[trial.number] = "; ".join(map(str, fitted.misfits))
    return _kept(trial, found)


def _pauses(sweep: SweepConfig, epochs: int, before: int) -> Collection[int]:
    """Return the epochs after which trials of this many epochs pause; `before` of them are those of their source."""
    pruner = sweep.pruner
    return rungs(pruner, epochs, before) if isinstance(pruner, PromoteConfig) else ()


def _carried(trial: FrozenTrial, fitted: Fit, pauses: Collection[int]) -> FrozenTrial:
    finished, paused = trial.state in FINISHED, paused_after(trial) in pauses
    dropped = {OUTSIDE} if finished or paused else {OUTSIDE, PAUSED, UNTIL}  # the new space says anew where they pause
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in dropped}
    state = trial.state if finished or paused else OptunaState.WAITING
    if OUTSIDE in trial.user_attrs:  # an earlier extension had left it out, and it has its place again
        return _with_times(trial, _again_inside(trial, fitted, attributes))
    moved = create_trial(
        state=state,
        values=trial.values if state == OptunaState.COMPLETE else None,
        params=fitted.params,
        distributions={name: distribution_of(node) for name, node in fitted.nodes.items()},
        user_attrs=attributes,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
    moved.values = copy.copy(trial.values) if finished else None
    return _with_times(trial, moved)


def _again_inside(trial: FrozenTrial, fitted: Fit, attributes: dict[str, Any]) -> FrozenTrial:
    state, values = trial.user_attrs[OUTSIDE]["state"], trial.user_attrs[OUTSIDE]["values"]
    return create_trial(
        state=OptunaState[state],
        values=values,
        params=fitted.params,
        distributions={name: distribution_of(node) for name, node in fitted.nodes.items()},
        user_attrs=attributes,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _kept(trial: FrozenTrial, found: Extension) -> FrozenTrial:
    """Return a trial that the sampler no longer sees; what it has reached stays known."""
    attributes = dict(trial.user_attrs)
    if OUTCOME not in attributes:
        why = f"unfinished when the search space was changed, and outside it: {found.outside[trial.number]}"
        outcome = TrialOutcome(state=TrialState.FAILED, reason=why)
        found.left[trial.number] = outcome
        attributes[OUTCOME] = sealed_text(outcome.model_dump_json())
    if OUTSIDE not in attributes:
        state = trial.state if trial.state in FINISHED else OptunaState.FAIL
        attributes[OUTSIDE] = {"state": state.name, "values": trial.values}
    attributes[OUTSIDE] = {**attributes[OUTSIDE], "why": found.outside[trial.number]}
    return _with_times(
        trial,
        create_trial(
            state=OptunaState.FAIL,
            user_attrs=attributes,
            system_attrs=trial.system_attrs,
            intermediate_values=trial.intermediate_values,
        ),
    )


def _not_begun(trial: FrozenTrial, sweep: SweepConfig, found: Extension) -> FrozenTrial:
    """Return a trial without a whole configuration: one that waits for its turn, or was killed while it was drawn.

    One that stands for another trial is to have just the settings of that one, or is history until it can.
    """
    given = trial.user_attrs.get(GIVEN)
    fitted = Fit() if given is None else fit(sweep.search, given)
    if fitted.misfits and RETRY_OF in trial.user_attrs:
        found.outside[trial.number] = "; ".join(map(str, fitted.misfits))
        return _kept(trial, found)
    attributes = {} if given is None else {FIXED_PARAMS: fitted.params}
    if OUTSIDE in trial.user_attrs:  # an earlier extension had left it out
        known = {key: value for key, value in trial.user_attrs.items() if key not in {OUTSIDE, OUTCOME}}
        return create_trial(state=OptunaState.WAITING, user_attrs=known, system_attrs=attributes)
    state = OptunaState.FAIL if trial.state in FINISHED else OptunaState.WAITING
    return create_trial(state=state, user_attrs=trial.user_attrs, system_attrs=attributes)


def _with_times(trial: FrozenTrial, moved: FrozenTrial) -> FrozenTrial:
    if moved.state.is_finished():
        moved.datetime_start = trial.datetime_start or moved.datetime_start
        moved.datetime_complete = trial.datetime_complete or moved.datetime_complete
    return moved

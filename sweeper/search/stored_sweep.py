"""The search space that a study was started with, as it stands in the storage, and what may change of it."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from pydantic import ValidationError

from sweeper.config.sweep import SweepConfig
from sweeper.credentials import hide_credentials
from sweeper.errors import StudyChanged, StudyError
from sweeper.safeguards.quantity import quantity
from sweeper.search.stored_trial import SWEEP

if TYPE_CHECKING:
    from sweeper.search.study_store import StudyStore


def stored_sweep(stored: Any, name: str) -> SweepConfig:
    try:
        return SweepConfig.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"the search space stored with the study {name} cannot be read by this version of sweeper "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}); use the version that ran it"
        ) from None


def not_made_here(url: str, name: str) -> StudyError:
    """Return the error for a study of another program."""
    return StudyError(
        f"the study {name} in {hide_credentials(url)} was not made by sweeper; take another `study:` name, or another "
        "storage with --storage"
    )


def as_begun(study: optuna.Study, sweep: SweepConfig, url: str) -> SweepConfig:
    """Return a search space, with the pruner that its study began with where it names none.

    Raises StudyChanged where the study was begun with another search space, StudyError for another program's study.
    """
    stored = study.user_attrs.get(SWEEP)
    if stored is not None:
        begun = stored_sweep(stored, sweep.study)
        sweep = with_pruner_of(sweep, begun)
        refuse_changes(sweep, begun)
        return sweep
    directions = [direction.name.lower() for direction in study.directions]
    if study.get_trials(deepcopy=False) or directions != [goal.direction for goal in sweep.goals]:
        raise not_made_here(url, sweep.study)
    return sweep


def with_pruner_of(sweep: SweepConfig, stored: SweepConfig) -> SweepConfig:
    """Return a search space that names no pruner with that of its study: its default follows keys that may change."""
    return sweep if "pruner" in sweep.model_fields_set else sweep.model_copy(update={"pruner": stored.pruner})


def as_written(store: StudyStore) -> SweepConfig:
    """Return the search space of a study with all of its epochs; a deadline may have taken some of them."""
    return stored_sweep(store.noted(SWEEP), store.sweep.study)


def with_epochs(sweep: SweepConfig, epochs: int) -> SweepConfig:
    """Return the same search space with another number of epochs for each trial."""
    return sweep.model_copy(update={"budget": sweep.budget.model_copy(update={"epochs": epochs})})


def with_trials(sweep: SweepConfig, trials: int) -> SweepConfig:
    """Return the same search space with another number of trials."""
    return sweep.model_copy(update={"budget": sweep.budget.model_copy(update={"trials": trials})})


def store_trials(study: optuna.Study, sweep: SweepConfig, trials: int, known: int) -> SweepConfig:
    """Let a study have another number of trials. Raises StudyError where more are known already."""
    if trials < known:
        raise StudyError(f"the study {sweep.study} has {quantity(known, 'trial')} already; set {known} or more")
    stored = with_trials(stored_sweep(study.user_attrs[SWEEP], sweep.study), trials)
    study.set_user_attr(SWEEP, stored.model_dump(mode="json", by_alias=True))
    return with_trials(sweep, trials)


def refuse_changes(sweep: SweepConfig, stored: SweepConfig) -> None:
    if changed := changed_keys(sweep, stored):
        raise StudyChanged(
            f"the study {sweep.study} was started with other settings of: {', '.join(changed)}. "
            "Its trials would not be comparable; give the new search space another `study:` name, or undo the change. "
            f"To continue with an edited `search`: sweeper extend {sweep.study} FILE"
        )


def changed_keys(sweep: SweepConfig, stored: SweepConfig) -> list[str]:
    """Return the settings that must stay while a study is continued and have not; a fingerprint may lack some."""
    new, old = sweep.fingerprint(), stored.fingerprint()
    plain = partial(json.dumps, sort_keys=True)
    return [key for key in {**new, **old} if plain(new.get(key)) != plain(old.get(key))]

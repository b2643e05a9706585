"""Run a study: claim it, prepare what its trials need, and let the driver run them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sweeper.config.sampler import GridConfig
from sweeper.config.sweep import SweepConfig
from sweeper.files import file_lock
from sweeper.paths import Workspace
from sweeper.results import TrialState
from sweeper.search.stored_trial import CARD, EPOCHS
from sweeper.search.study_store import StudyStore
from sweeper.study.beginning import beginning_of
from sweeper.study.card import read_card, require_same_kind, stored_form, study_card
from sweeper.study.claim import claim_study, settle, take_storage
from sweeper.study.deadline import Deadline, SearchLimit
from sweeper.study.driver import Driver, EngineFactory
from sweeper.study.holding import leased
from sweeper.study.lineage import read_lineage
from sweeper.study.lock import study_lock
from sweeper.study.material import material_of
from sweeper.study.model_files import pin_model_files, require_same_model_files, tags_of
from sweeper.study.observer import Observer
from sweeper.study.opening import Opening
from sweeper.study.preparation import images_guarded, refuse_impossible
from sweeper.study.pretrained import pin_weights
from sweeper.study.recorded import recorded_by
from sweeper.study.result import SweepResult
from sweeper.study.saturation import saturated
from sweeper.study.teachers import pin_teachers, require_same_classes, told
from sweeper.study.time_limit import Clock
from sweeper.tracking.acceptance import require_acceptance
from sweeper.tracking.outbox import Outbox
from sweeper.tracking.tensorboard import event_files

logger = logging.getLogger(__name__)


def run_sweep(
    sweep: SweepConfig,
    *,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str,
    engine: EngineFactory,
    observer: Observer,
    leaders: Mapping[str, Mapping[str, Any]] | None = None,
    retry_failed: bool = False,
    workers: str | None = None,
    clock: Clock | None = None,
    deadline: Deadline | None = None,
) -> SweepResult:
    """Run a study up to its budget, continuing where an earlier run ended.

    Where its folder holds what a trial of another study has left (`study/continue_from.py`), its trials go on from
    that. `leaders` are named configurations that a new study begins with, after those of its own `enqueue`.
    `retry_failed` trains the configurations of failed trials once more. `workers` is how many the engine has: a number,
    `auto`, or None for one on each device. `clock` as of `Driver`. With a `deadline` the search takes the part of the
    time that is for it.

    Raises ConfigError when the search space asks for what cannot be, StudyLocked while another driver
    runs it, ForeignStudy when it belongs to another folder, TrackingRefused when MLflow will not take its records,
    StudyChanged when its search space differs and DatasetError when the images cannot be used.
    """
    logger.info("study %s in %s, its records go to %s", sweep.study, storage_url, tracking_uri)
    refuse_impossible(sweep)
    events = event_files(sweep, workspace)
    folder = workspace.study(sweep.study)
    with study_lock(folder, sweep.study):
        claim = claim_study(workspace, storage_url, sweep.study)
        require_acceptance(workspace, tracking_uri, recorded_by(claim, folder, sweep.tracking.name))
        settle(claim, workspace)
        stored = read_card(folder)
        require_same_kind(sweep, stored)
        weights = pin_weights(sweep, stored.pretrained if stored else {}, workspace, storage_url, tracking_uri)
        teachers = pin_teachers(sweep, stored.teachers if stored else {}, workspace, storage_url, tracking_uri)
        fits = partial(require_same_classes, teachers, sweep)
        material = material_of(sweep, workspace, workers, observer.preparing, fits)
        with file_lock(workspace.database_lock, blocking=True):
            store = StudyStore.create_or_load(storage_url, sweep)
        with leased(store, claim.identity):
            take_storage(claim, store)
            _put_in_line(store, sweep, leaders or {})
            if retry_failed:
                observer.retrying(store.retry_failed())
            source = read_lineage(folder)
            tags = {**(source.tags() if source else {}), **tags_of(pin_model_files(store)), **material.tags}
            card = study_card(sweep, material.card, folder, tracking_uri, weights, teachers, tags, claim.identity)
            store.note(CARD, stored_form(card, workspace.root))
            opening = replace(material.opening, facts=(*told(teachers, sweep), *material.opening.facts))
            limit, opening = _limited(deadline, store, opening)
            observer.opening(opening)
            driver = Driver(
                store,
                folder,
                Outbox(workspace, folder, card),
                observer,
                beginning=beginning_of(card, folder, workspace),
                events=events,
                before_trials=partial(require_same_model_files, store),
                clock=clock,
                limit=limit,
                enough=partial(saturated, store),
            )
            with images_guarded(folder, material.images):
                return driver.run(engine)


def _limited(deadline: Deadline | None, store: StudyStore, opening: Opening) -> tuple[SearchLimit | None, Opening]:
    """Return the part of the time that is for the search, and the opening with the deadline; without one nothing new.

    A grid keeps its epochs, and so does a study that has trials.
    """
    if deadline is None:
        return None, opening
    deadline.count_earlier(store.seconds_used)
    rows, planned = store.rows(), store.noted(EPOCHS) is not None
    settled = planned or any(row.epochs for row in rows) or isinstance(store.sweep.sampler, GridConfig)
    complete = any(row.state is TrialState.COMPLETE for row in rows)
    limit = SearchLimit(deadline, store.sweep.budget.epochs, settled=settled, complete=complete)
    return limit, replace(opening, facts=(("deadline", deadline.told()), *opening.facts))


def _put_in_line(store: StudyStore, sweep: SweepConfig, leaders: Mapping[str, Mapping[str, Any]]) -> None:
    if leaders and not store.begun:
        store.enqueue({**sweep.enqueue, **leaders})
    store.enqueue(sweep.enqueue)

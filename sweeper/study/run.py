"""Run a study: claim it, prepare what its trials need, and let the driver run them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from sweeper.config.engine import RayConfig, SimulateConfig
from sweeper.config.names_to_check import dotted
from sweeper.config.sampler import GridConfig
from sweeper.config.space_membership import fit
from sweeper.config.sweep import SweepConfig
from sweeper.data.index import ImageIndex
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
from sweeper.files import file_lock
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialState
from sweeper.search.stored_studies import stored_card
from sweeper.search.stored_sweep import with_pruner_of
from sweeper.search.stored_trial import BEFORE, CARD, DEADLINE, EPOCHS
from sweeper.search.study_store import StudyStore
from sweeper.study.backbone_ranking import Ranked
from sweeper.study.beginning import beginning_of
from sweeper.study.card import (
    address_of,
    bring_card,
    read_card,
    require_images_of_card,
    require_same_kind,
    stored_form,
    study_card,
    tell_of_new_address,
)
from sweeper.study.chosen_backbones import note_ranking
from sweeper.study.claim import Claim, claim_study, settle, take_storage
from sweeper.study.deadline import Deadline, SearchLimit, least_epochs
from sweeper.study.driver import Driver, EngineFactory
from sweeper.study.earlier_study import KEY
from sweeper.study.export_time import TimedExport
from sweeper.study.extending import follow_extension
from sweeper.study.holding import leased
from sweeper.study.lineage import read_lineage
from sweeper.study.lock import study_lock
from sweeper.study.material import Material, material_of
from sweeper.study.model_files import pin_model_files, require_same_model_files, tags_of
from sweeper.study.observer import Observer
from sweeper.study.opening import Opening, with_pruner_as_begun
from sweeper.study.preparation import images_guarded, refuse_impossible
from sweeper.study.pretrained import KEY as WEIGHTS_KEY
from sweeper.study.pretrained import Pinned, pin_weights
from sweeper.study.recorded import claimed_card, recorded_by
from sweeper.study.requests import Inbox
from sweeper.study.result import SweepResult
from sweeper.study.saturation import saturated
from sweeper.study.teachers import Teachers, pin_teachers, require_same_classes, told
from sweeper.study.time_beside import add_seconds_beside, seconds_beside
from sweeper.study.time_limit import Clock, TimeLimit, Timeout
from sweeper.study.unseen_images import (
    Earlier,
    changed_since,
    earlier_studies,
    require_drawn_alike,
    require_unseen_by_exports,
)
from sweeper.tracking.acceptance import require_acceptance
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.outbox import Outbox
from sweeper.tracking.tensorboard import event_files

logger = logging.getLogger(__name__)


def run_sweep(
    sweep: SweepConfig,
    *,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str | None,
    engine: EngineFactory,
    observer: Observer,
    leaders: Mapping[str, Mapping[str, Any]] | None = None,
    retry_failed: bool = False,
    workers: str | None = None,
    clock: Clock | None = None,
    deadline: Deadline | None = None,
    ranked: Ranked | None = None,
) -> SweepResult:
    """Run a study up to its budget, continuing where an earlier run ended.

    Where its folder holds what a trial of another study has left (`study/continue_from.py`), its trials go on from
    that. Records go to `tracking_uri`, else where those of a begun study are. `leaders` are named configurations that a
    new study begins with, after its own `enqueue`. With `retry_failed` failed ones are trained again. `workers`: how
    many the engine has, a number, `auto`, or None for one on each device. `clock` as of `Driver`. A `deadline` leaves
    the search a part of the time, as the ranking `ranked` does.

    Raises ConfigError for what cannot be, StudyLocked while another driver runs it, ForeignStudy when it belongs to
    another folder, TrackingRefused, StudyChanged when its search space or its images differ, and DatasetError.
    """
    refuse_impossible(sweep)
    events, folder = event_files(sweep, workspace), workspace.study(sweep.study)
    with _held(folder, sweep.study):
        claim, stored, uri = _claimed(sweep, folder, workspace, storage_url, tracking_uri, ranked)
        require_same_kind(sweep, stored)
        pinned = _pinned(sweep, stored, folder, workspace, storage_url, uri)
        earlier = tuple(earlier_studies(_begun_with(pinned, stored, folder), workspace, storage_url))
        material = _material(sweep, pinned.teachers, earlier, workspace, workers, observer)
        store, sweep, material = _opened(sweep, stored, material, workspace, storage_url, ranked)
        with leased(store, claim.identity):
            take_storage(claim, store)
            _put_in_queue(store, leaders or {}, observer, retry_failed=retry_failed)
            tags = _tags(store, folder, material)
            card = study_card(sweep, material.card, folder, uri, *pinned, tags, claim.identity)
            store.note(CARD, stored_form(card, workspace.root))
            follow_extension(store, sweep, folder)
            limit, opening = _limited(deadline, ranked, store, material, workspace, clock or time.monotonic)
            observer.opening(opening)
            driver = Driver(
                store,
                folder,
                Outbox(workspace, folder, card, elsewhere=isinstance(sweep.engine, RayConfig)),
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


@contextmanager
def _held(folder: StudyFolder, study: str) -> Iterator[None]:
    """Hold a study, and forget what an earlier driver was asked for. Raises StudyLocked."""
    asked_before = time.time_ns()
    with study_lock(folder, study):
        Inbox.of(folder).forget_old(asked_before)
        yield


def _claimed(
    sweep: SweepConfig,
    folder: StudyFolder,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str | None,
    ranked: Ranked | None,
) -> tuple[Claim, StudyCard | None, str]:
    """Settle that the study may go on in this folder.

    Returns that, what its runs record if it has begun, and the address that they go to: of a new study that of the one
    that has ranked its backbones.
    """
    claim, copy = claim_study(workspace, storage_url, sweep.study), stored_card(storage_url, sweep.study)
    card = claimed_card(claim, folder, copy)
    of = workspace.study(ranked.ranking.study) if card is None and ranked and ranked.ranking else folder
    uri = address_of(card if of == folder else read_card(of), workspace, tracking_uri, of)
    logger.info("study %s in %s, its records go to %s", sweep.study, storage_url, uri)
    if card is not None:
        tell_of_new_address(card, uri, workspace, folder)
    require_acceptance(workspace, uri, recorded_by(claim, folder, card, sweep.tracking.name))
    settle(claim, workspace)
    bring_card(folder, copy)
    return claim, card, uri


class Pins(NamedTuple):
    """What the weights and teachers that a search space names stand for."""

    weights: Pinned
    teachers: Teachers


def _pinned(
    sweep: SweepConfig,
    stored: StudyCard | None,
    folder: StudyFolder,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str,
) -> Pins:
    """Look up what a search space refers to; for a study that has begun, require what it began with.

    For one that goes on from a trial, require the teacher of that.
    """
    weights, teachers = (stored.pretrained, stored.teachers) if stored else ({}, {})
    source = read_lineage(folder) if stored is None else None
    taught, study = (source.teachers, source.study) if source else (teachers, None)
    return Pins(
        pin_weights(sweep, weights, workspace, storage_url, tracking_uri),
        pin_teachers(sweep, taught, workspace, storage_url, tracking_uri, source=study),
    )


def _begun_with(pinned: Pins, stored: StudyCard | None, folder: StudyFolder) -> dict[str, str]:
    """Return the studies whose weights this one begins with, each with its key; of one that has begun, new ones."""
    source, (weights, teachers) = read_lineage(folder), (stored.pretrained, stored.teachers) if stored else ({}, {})
    named = {source.study: "dataset"} if source and stored is None else {}
    named |= {pin.study: WEIGHTS_KEY for key, pin in pinned.weights.items() if pin.study and key not in weights}
    return named | {pin.study: KEY for key, pin in pinned.teachers.items() if pin.study and key not in teachers}


def _material(
    sweep: SweepConfig,
    teachers: Teachers,
    earlier: Sequence[Earlier],
    workspace: Workspace,
    workers: str | None,
    observer: Observer,
) -> Material:
    """Prepare what trials are trained on; the teachers are among what is told before the first trial.

    Raises ConfigError where images would judge that `earlier` studies have learned from.
    """

    def fits(index: ImageIndex) -> None:
        require_same_classes(teachers, sweep, index)
        for study in earlier:
            require_drawn_alike(sweep, index, study, workspace)

    material = material_of(sweep, workspace, workers, observer.preparing, fits)
    if material.images is not None:
        index, digest = material.images.index, material.card.digest
        changed = (changed_since(sweep, index, digest, study, workspace) for study in earlier)
        warnings = (*material.opening.warnings, *filter(None, changed))
        material = replace(material, opening=replace(material.opening, warnings=warnings))
    require_unseen_by_exports(KEY, {name: teacher.seen for name, teacher in teachers.items()}, material.card.digest)
    return replace(material, opening=replace(material.opening, facts=(*told(teachers, sweep), *material.opening.facts)))


def _opened(
    sweep: SweepConfig,
    stored: StudyCard | None,
    material: Material,
    workspace: Workspace,
    storage_url: str,
    ranked: Ranked | None,
) -> tuple[StudyStore, SweepConfig, Material]:
    """Open the study, or create it; return it, the search space with its pruner, and the material, which names it.

    Raises StudyChanged, for other settings first and then for other images.
    """
    same_images = partial(require_images_of_card, stored, material.card, sweep.study)
    with file_lock(workspace.database_lock, blocking=True):
        source = read_lineage(workspace.study(sweep.study))
        store = StudyStore.create_or_load(storage_url, sweep, same_images, source.epochs if source else 0)
        if ranked and ranked.order:
            note_ranking(store, ranked.order, ranked.dropped)
    begun = with_pruner_as_begun(material.opening, sweep, store.sweep)
    return store, with_pruner_of(sweep, store.sweep), replace(material, opening=begun)


def _tags(store: StudyStore, folder: StudyFolder, material: Material) -> dict[str, str]:
    """Return what every run records beside its configuration: where the study comes from, its model files and data."""
    source = read_lineage(folder)
    return {**(source.tags() if source else {}), **tags_of(pin_model_files(store)), **material.tags}


def _limited(
    deadline: Deadline | None,
    ranked: Ranked | None,
    store: StudyStore,
    material: Material,
    workspace: Workspace,
    clock: Clock,
) -> tuple[TimeLimit, Opening]:
    """Return what the time allows to the search, and the opening with the deadline, if there is one.

    A grid keeps its epochs, and so does a study that has trials, or goes on from one: its epochs count that one's too.
    """
    if deadline is None:
        used_s = store.seconds_used + (ranked.seconds if ranked else 0.0)
        return Timeout(store.sweep.budget.timeout, used_s, clock), material.opening
    prepared_s = deadline.spent_s - (ranked.seconds - ranked.earlier_s if ranked else 0.0)
    deadline.count_earlier(store.seconds_used + (ranked.earlier_s if ranked else 0.0) + seconds_beside(store))
    add_seconds_beside(store, prepared_s)
    rows, before = store.rows(), cast(int, store.noted(BEFORE) or 0)
    deadline.pace.epochs_before = before
    settled = store.noted(EPOCHS) is not None or before > 0 or isinstance(store.sweep.sampler, GridConfig)
    settled = settled or any(row.config and row.epochs > row.config.unfreezing.head_epochs for row in rows)
    complete = any(row.state is TrialState.COMPLETE and row.outside is None for row in rows)
    prepared = material.images
    export_time = TimedExport.of(store.sweep, prepared.images, workspace.root) if prepared else None
    epochs = store.sweep.budget.epochs
    least = least_epochs(store.sweep.search)
    limit = SearchLimit(deadline, epochs, settled=settled, least=least, complete=complete, export_time=export_time)
    if not isinstance(store.sweep.engine, SimulateConfig):
        store.note(DEADLINE, {"at": time.time() + deadline.left_s})
    facts = (("deadline", deadline.told()), *material.opening.facts)
    return limit, replace(material.opening, facts=facts, left_s=lambda: deadline.left_s)


def _put_in_queue(
    store: StudyStore, leaders: Mapping[str, Mapping[str, Any]], observer: Observer, *, retry_failed: bool
) -> None:
    """Queue what the search space and the command name. Raises ConfigError."""
    queue = store.sweep.enqueue
    _require_searched(store.sweep)
    if leaders and not store.begun:
        store.enqueue({**queue, **leaders})
    store.enqueue(queue)
    if retry_failed:
        observer.retrying(store.retry_failed())


def _require_searched(sweep: SweepConfig) -> None:
    """Raise ConfigError where `enqueue` names what the study does not search: backbones that a ranking has left out."""
    problems = [
        Problem(
            IN_SEARCH_SPACE,
            dotted(("enqueue", name, *misfit.key)),
            f"{misfit.why}; the study does not search it, so remove it here",
        )
        for name, given in sweep.enqueue.items()
        for misfit in fit(sweep.search, given).misfits
    ]
    if problems:
        raise ConfigError(problems)

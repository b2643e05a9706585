"""The end of a run with a deadline: the best trial is exported, the best few are trained again, and what leads then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from sweeper.confirm.repetitions import latest, leaders_to_confirm, stored_repetitions
from sweeper.errors import ExportError, StudyError, StudyLocked
from sweeper.paths import ExportFolder, Workspace
from sweeper.results import TrialState
from sweeper.search.stored_trial import AT_ONCE
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import study_winner
from sweeper.study.deadline import Confirming, Deadline
from sweeper.study.lock import EXPORTS, study_lock
from sweeper.study.time_beside import add_seconds_beside


def finish_by(
    deadline: Deadline,
    store: StudyStore,
    workspace: Workspace,
    export: Callable[[int], object],
    confirm: Callable[[Confirming | None], object],
) -> bool:
    """Use what is left of the time after the search, and return whether the best trial is exported.

    A trial that its study's export holds already is not exported again.

    Args:
        deadline: When the best model is to be there.
        store: The study whose search has ended.
        workspace: Where it lies.
        export: Exports the trial of a number.
        confirm: Trains the best trials again as planned; None stands for too little time.
    """
    with _held_for_export(workspace, store):
        winner = study_winner(store)
        if winner is None:
            return False
        deadline.count_into(partial(_add_seconds, store))
        if not is_exported(workspace, store, winner.number):  # perhaps with more than a plain export has
            began = time.monotonic()
            export(winner.number)
            deadline.exported(time.monotonic() - began)
        deadline.count_used()
    confirm(_plan(deadline, store, workspace))
    with _held_for_export(workspace, store):
        deadline.count_used()
        confirmed = study_winner(store)
        if confirmed is not None and not is_exported(workspace, store, confirmed.number):
            export(confirmed.number)
            deadline.count_used()
    return True


@contextmanager
def _held_for_export(workspace: Workspace, store: StudyStore) -> Iterator[None]:
    """Hold a study, so that others see that its run goes on. Where another command holds it, export all the same."""
    study = store.sweep.study
    with ExitStack() as held:
        with suppress(StudyLocked):
            held.enter_context(study_lock(workspace.study(study), study, which=EXPORTS))
        yield


def is_exported(workspace: Workspace, store: StudyStore, trial: int) -> bool:
    """Return whether the export of a study holds this trial."""
    from sweeper.export.export_config import export_lineage  # with torch, which takes seconds
    from sweeper.finished.evaluated_images import is_of

    try:
        lineage = export_lineage(ExportFolder(workspace.export(store.sweep.study)).config)
    except ExportError:  # there is none, or a damaged one
        return False
    return is_of(store, lineage) and lineage.trial == trial


def _add_seconds(store: StudyStore, seconds: float) -> None:
    with suppress(StudyError):  # a storage that cannot be written is no reason to end without a model
        add_seconds_beside(store, seconds)


def _plan(deadline: Deadline, store: StudyStore, workspace: Workspace) -> Confirming | None:
    """Plan the confirmation by how fast trials were, of this run or an earlier one, and by what of it is done."""
    rows, pace = store.rows(), deadline.pace
    pace.count_earlier(rows, at_once=(store.noted(AT_ONCE) or {}).get("trials", 1))
    with suppress(StudyError):
        store.note(AT_ONCE, {"trials": pace.at_once})
    complete = sum(row.state is TrialState.COMPLETE and row.outside is None for row in rows)
    repetitions = latest(stored_repetitions(workspace.study(store.sweep.study).confirmation))
    done = Counter(one.repeats.trial for one in repetitions if one.outcome is not None and not one.failed)
    return deadline.confirming(
        store.sweep.budget.epochs, complete, lambda top: [done[row.number] for row in leaders_to_confirm(store, top)]
    )

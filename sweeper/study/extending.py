"""A study continued with an edited search space: its storage, its files and its parent run follow."""

from __future__ import annotations

from sweeper.config.sweep import SweepConfig
from sweeper.files import file_lock, write_sealed
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.extension import Extension, extend
from sweeper.search.stored_sweep import with_pruner_of
from sweeper.search.study_store import StudyStore
from sweeper.study.card import write_search_space
from sweeper.study.holding import held_study
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import refuse_impossible


def extend_study(workspace: Workspace, storage_url: str, sweep: SweepConfig) -> Extension:
    """Carry the trials of a study over into an edited search space; the study can then be run on.

    Doing it again changes nothing. Raises StudyNotFound, StudyLocked while a driver runs it, and StudyChanged
    when more has changed than may: other model files may be named, but those it has been run with must stay.
    """
    refuse_impossible(sweep)
    folder, store = workspace.study(sweep.study), StudyStore.load(storage_url, sweep.study)
    sweep = with_pruner_of(sweep, store.sweep)
    with held_study(workspace, store, which="extends it"), file_lock(workspace.database_lock, blocking=True):
        require_same_model_files(store)
        found = extend(store, sweep)
        follow_extension(StudyStore.load(storage_url, sweep.study), sweep, folder)
    return found


def follow_extension(store: StudyStore, sweep: SweepConfig, folder: StudyFolder) -> None:
    """Let the files of a study say what its storage says since it was extended; doing it again changes nothing.

    Who extends it may die when only the storage has been changed.
    """
    for row in store.rows():
        trial = folder.trial(row.number)
        if row.outside is not None and row.outcome is not None and trial.spec.exists():
            write_sealed(trial.outcome, row.outcome.model_dump_json())
    write_search_space(sweep, folder)

"""`sweeper list`: the studies of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeper.commands.options import JsonOption, StorageOption
from sweeper.commands.studies import require_storage, storage_url, this_workspace
from sweeper.commands.terminal import say, show, warn, write_json

if TYPE_CHECKING:
    from sweeper.display.answers import StudyAnswer, StudyState
    from sweeper.paths import Workspace


def list_studies(as_json: JsonOption = False, storage: StorageOption = None) -> None:
    """List the studies of this folder, the latest first: state, trials and best value."""
    from sweeper.display.answers import StudiesAnswer
    from sweeper.display.tables import studies_table
    from sweeper.search.stored_studies import study_names

    workspace = this_workspace()
    require_storage(workspace, storage)
    url = storage_url(workspace, storage)
    studies = list(_readable(workspace, url, study_names(url)))
    if as_json:
        write_json(StudiesAnswer(studies=tuple(studies)).model_dump(mode="json"))
    elif studies:
        show(studies_table(studies))
    else:
        say("no study yet; `sweeper run` creates one")


def _readable(workspace: Workspace, url: str, names: Sequence[str]) -> Iterator[StudyAnswer]:
    """Describe the studies that can be read, and warn of the others. Raises StudyError where none can be."""
    from sweeper.errors import StudyError

    troubles = []
    for name in names:
        try:
            yield _described(workspace, url, name)
        except StudyError as error:
            troubles.append(error)
            if len(troubles) == len(names):
                raise
            warn(f"the study {name} is left out: {error}")


def _described(workspace: Workspace, url: str, name: str) -> StudyAnswer:
    from sweeper.display.answers import StudyAnswer
    from sweeper.search.study_store import StudyStore
    from sweeper.standings.winner import study_winner
    from sweeper.study.ending import is_finished
    from sweeper.study.lock import is_running
    from sweeper.study.requests import is_paused

    store = StudyStore.load(url, name)
    ended, folder = store.counts().ended, workspace.study(name)
    state: StudyState = "finished" if is_finished(folder, store.sweep, whole=ended >= store.budget) else "unfinished"
    if is_running(folder):
        state = "running"
    return StudyAnswer.of(state, store.sweep, ended, store.budget, study_winner(store), paused=is_paused(folder))

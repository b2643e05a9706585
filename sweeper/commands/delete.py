"""`sweeper delete`: a study, its files and its runs go; what it has exported stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import RecordedOption, StorageOption, studies_here
from sweeper.commands.studies import open_study, storage_url, this_workspace
from sweeper.commands.terminal import agrees, can_ask, say, warn

if TYPE_CHECKING:
    from sweeper.paths import Workspace


def delete(
    study: Annotated[str, typer.Argument(help="Name of the study.", autocompletion=studies_here)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Leave its runs in MLflow as they are.")] = False,
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Delete a study: its trials, checkpoints and undelivered weights; its MLflow runs move to MLflow's trash.

    It first says what goes and what stays, then asks. Exported models, reports and the caches that studies share stay.
    """
    from sweeper.credentials import hide_credentials
    from sweeper.display.deletion import deletion_lines, trash_lines
    from sweeper.errors import TrackingError
    from sweeper.upkeep.deletion import delete_study, plan_deletion

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    _require_idle(workspace, study)
    try:
        planned = plan_deletion(workspace, store, tracking_uri, keep_runs=keep_runs)
        database = workspace.optuna_database.name if storage is None else storage_url(workspace, storage)
        for line in deletion_lines(planned, hide_credentials(database)):
            say(line)
        if not (yes or _agreed(study)):
            say("nothing was deleted")
            raise typer.Exit(1)
        delete_study(workspace, store, tracking_uri, keep_runs=keep_runs)
    except TrackingError:
        in_trash = "some of its runs may already be in MLflow's trash. Run the same command again"
        warn(
            f"nothing of {study} was removed here; {in_trash}, or add --keep-runs to leave the runs and delete the rest"
        )
        raise
    say(f"study {study} is deleted")
    for line in trash_lines(planned):
        say(line)


def _require_idle(workspace: Workspace, study: str) -> None:
    """Raise StudyLocked while a process is on the study."""
    from sweeper.errors import StudyLocked
    from sweeper.study.lock import is_running, other_work

    if other := other_work(workspace.study(study)):
        raise StudyLocked(
            f"the study {study} is held by {other}, and is not deleted; wait for it, or press Ctrl-C where it runs"
        )
    if is_running(workspace.study(study)):
        raise StudyLocked(f"the study {study} is running, and is not deleted; first: sweeper stop {study}")


def _agreed(study: str) -> bool:
    """Ask whether to delete. Raises ConfigError where nobody can answer."""
    from sweeper.errors import ConfigError, Problem

    if not can_ask():
        rule = f"is needed where nobody can be asked; look at what goes, then: sweeper delete {study} --yes"
        raise ConfigError([Problem("--yes", "", rule)])
    return agrees("delete it?")

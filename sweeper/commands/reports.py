"""Commands that write what people read about studies: `report` and `diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.studies import StorageOption, StudyArgument, TrackingOption, open_study, this_workspace
from sweeper.commands.terminal import err, say, warn

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore


def report(
    study: StudyArgument = None,
    to: Annotated[Path | None, typer.Option(help="The HTML file, by default reports/STUDY.html.")] = None,
    hourly_price: Annotated[
        float | None, typer.Option(min=0, help="What an hour of training costs, in any currency.")
    ] = None,
    log: Annotated[bool, typer.Option("--log/--no-log", help="Log the page to the parent run in MLflow too.")] = True,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Write one HTML file about a study, which needs neither network nor server: trials, charts, mistakes, cost."""
    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    with err.status("reading the trials and writing the page"):
        path = write_page(workspace, store, to, tracking_uri, hourly_price, log=log)
    say(f"report of {store.sweep.study}: {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")


def write_page(
    workspace: Workspace,
    store: StudyStore,
    to: Path | None,
    tracking_uri: str | None,
    hourly_price: float | None = None,
    *,
    log: bool,
) -> Path:
    """Write a study's page, log it and return its path. Raises TrackingError."""
    from sweeper.files import write_whole
    from sweeper.report.page import study_page
    from sweeper.report.parent_run import log_page

    path = to or workspace.report(store.sweep.study)
    write_whole(path, study_page(workspace, store, tracking_uri, hourly_price))
    if log:
        log_page(workspace, store, path, tracking_uri)
    return path


def write_page_after_run(workspace: Workspace, storage: str, study: str, tracking_uri: str) -> None:
    """Write and log the page at the end of a sweep; a sweep that has ended well never fails for want of it."""
    from sweeper.errors import SweeperError
    from sweeper.search.study_store import StudyStore

    try:
        path = write_page(workspace, StudyStore.load(storage, study), None, tracking_uri, log=True)
    except SweeperError as error:
        warn(f"no report yet: {error}; later: sweeper report {study}")
        return
    say(f"report: {path}")

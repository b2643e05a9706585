"""`sweeper report`: a study as one page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import ForceOption, RecordedOption, StorageOption, StudyArgument, finite
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import say, waiting, warn

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore


logger = logging.getLogger(__name__)


def report(
    study: StudyArgument = None,
    to: Annotated[Path | None, typer.Option(help="The HTML file, by default reports/STUDY.html.")] = None,
    force: ForceOption = False,
    hourly_price: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="What an hour of training costs, in any currency."),
    ] = None,
    log: Annotated[bool, typer.Option("--log/--no-log", help="Log the page to the parent run in MLflow too.")] = True,
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Write one HTML file about a study, which needs neither network nor server: trials, charts, mistakes, cost."""
    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    with waiting("reading the trials and writing the page"):
        path = write_page(workspace, store, to, tracking_uri, hourly_price, log=log, force=force)
    say(f"report of {store.sweep.study}: {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")


def write_page(
    workspace: Workspace,
    store: StudyStore,
    to: Path | None,
    tracking_uri: str | None,
    hourly_price: float | None = None,
    *,
    log: bool,
    force: bool = False,
) -> Path:
    """Write a study's page, log it and return its path. Raises TrackingError."""
    from sweeper.errors import SweeperError
    from sweeper.report.page import study_page
    from sweeper.report.parent_run import log_page
    from sweeper.safeguards.outputs import PAGE, Output

    path = to or workspace.report(store.sweep.study)
    output = Output(path, PAGE, "--to", force=force)
    output.require_free()
    output.write(study_page(workspace, store, tracking_uri, hourly_price))
    if log:
        try:
            log_page(workspace, store, path, tracking_uri)
        except SweeperError:
            say(f"report: {path}; it could not be logged to MLflow (--no-log does not try)")
            raise
    return path


def write_page_after_run(workspace: Workspace, storage: str, study: str, tracking_uri: str) -> None:
    """Write and log the page at the end of a sweep; a sweep that has ended well never fails for want of it."""
    from sweeper.errors import SweeperError
    from sweeper.search.study_store import StudyStore

    try:
        path = write_page(workspace, StudyStore.load(storage, study), None, tracking_uri, log=True)
    except Exception as error:  # whatever it is, the trials are done and recorded
        if not isinstance(error, SweeperError):
            logger.exception("the report of %s cannot be written", study)
        warn(f"no report yet: {error}; later: sweeper report {study}")
        return
    say(f"report: {path}")

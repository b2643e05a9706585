"""Commands that write what people read about studies: `report` and `diff`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.studies import StorageOption, StudyArgument, TrackingOption, open_study, this_workspace
from sweeper.commands.terminal import say, show, waiting, warn

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.report.difference import Difference
    from sweeper.search.study_store import StudyStore

logger = logging.getLogger(__name__)

NAMED_IMAGES = 8


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
    with waiting("reading the trials and writing the page"):
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
    from sweeper.outputs import PAGE, Output
    from sweeper.report.page import study_page
    from sweeper.report.parent_run import log_page

    path = to or workspace.report(store.sweep.study)
    output = Output(path, PAGE, "--to")
    output.require_free()
    output.write(study_page(workspace, store, tracking_uri, hourly_price))
    if log:
        log_page(workspace, store, path, tracking_uri)
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


def diff(
    a: Annotated[str, typer.Argument(help="STUDY/NUMBER, a run id, a study (its winner) or an export's folder.")],
    b: Annotated[str, typer.Argument(help="What A is compared with, named likewise.")],
    page: Annotated[Path | None, typer.Option(help="Write the difference as one HTML file, with pictures.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images to evaluate both on, in place of what was kept of validation.")
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="The split of these images, where they have any.")] = (
        "val"
    ),
    device: Annotated[str, typer.Option(help="Where to evaluate: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Compare two models: parameters, scores, curves, classes, confusions, and image by image with McNemar's test."""
    from sweeper.display.difference import difference_tables, verdict
    from sweeper.outputs import PAGE, Output
    from sweeper.report.difference import difference
    from sweeper.report.difference_page import difference_page
    from sweeper.report.sides import SideFinder

    workspace = this_workspace()
    output = Output(page, PAGE, "--page") if page else None
    if output:
        output.require_free()
    finder = SideFinder(workspace, lambda name: open_study(workspace, storage, name), tracking_uri, data, split, device)
    with waiting("reading both"):
        sides = finder.find(a), finder.find(b)
        for side in sides:
            side.require_results()
        found = difference(*sides)
    say(f"A: {found.a.name}\nB: {found.b.name}")
    for table in difference_tables(found):
        show(table)
    if found.paired is None:
        warn(f"not compared image by image: {found.why_not}")
    else:
        say(verdict(found.paired))
        _name_images(workspace, found)
    if output:
        output.write(difference_page(workspace, found))
        say(f"page: {page}")


def _name_images(workspace: Workspace, found: Difference) -> None:
    """Name the first images that changed."""
    from sweeper.printable import one_line
    from sweeper.report.pictures import find_files

    paired, dataset = found.paired, found.a.dataset
    if paired is None or dataset is None:
        return
    paths = find_files(dataset, workspace, paired.a.images).paths
    for title, images in (("newly right", paired.newly_right), ("newly wrong", paired.newly_wrong)):
        names = [one_line(paths[image]) for image in images[:NAMED_IMAGES].tolist() if paths[image]]
        if names:
            more = f" and {len(images) - len(names):,} more" if len(images) > len(names) else ""
            say(f"{title} in B: {', '.join(names)}{more}")

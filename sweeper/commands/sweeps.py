"""Commands that train: `run` for a study, `train` to go on from one of its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.commands.running import check_names, run_and_tell
from sweeper.commands.studies import (
    OverridesOption,
    ReportOption,
    StorageOption,
    TrackingNameOption,
    TrackingOption,
    WorkersOption,
    storage_url,
    this_workspace,
    with_tracking_name,
)
from sweeper.commands.terminal import say


def run(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    overrides: OverridesOption = None,
    workers: WorkersOption = None,
    warm_start_from: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Begin a new study with the five best trials of an earlier one.")
    ] = None,
    with_report: ReportOption = True,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Run a study up to its budget, or go on with one that was interrupted."""
    from sweeper.config.loading import load_sweep, told_by_line

    given = with_tracking_name(overrides, tracking_name)
    sweep = load_sweep(space, given, check_names)
    with told_by_line(space, given):
        run_and_tell(
            sweep,
            workers=workers,
            storage=storage,
            tracking_uri=tracking_uri,
            with_report=with_report,
            warm_start_from=warm_start_from,
        )


def train(
    source: Annotated[
        str, typer.Option("--from", metavar="RUN", help="An MLflow run's id, STUDY/NUMBER, or STUDY/best.")
    ],
    overrides: OverridesOption = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs to come, by default as many as a trial of the study has.")
    ] = None,
    with_optimizer: Annotated[
        bool, typer.Option("--with-optimizer", help="Take the optimizer's state too, where keep_optimizer kept it.")
    ] = False,
    with_report: ReportOption = True,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Go on from a trial's best weights with other settings, as a study of its own; again, after an interruption.

    Its run has the history of its source, goes on counting epochs from there, and links to it. `--set study=NAME`
    names it.
    """
    from sweeper.config.loading import told_by_line
    from sweeper.study.continuation import continued_sweep
    from sweeper.study.source import find_source
    from sweeper.study.start import fetch_start, started_from

    workspace = this_workspace()
    url = storage_url(workspace, storage)
    found = find_source(workspace, url, source, tracking_uri)
    given = with_tracking_name(overrides, tracking_name)
    sweep = continued_sweep(
        found,
        given,
        epochs=epochs,
        with_optimizer=with_optimizer,
        check_names=check_names,
    )
    say(f"{sweep.study} goes on from {found.name}, whose best epoch is {found.best_epoch} of {found.row.epochs}")
    fetch_start(workspace, url, found, sweep.study, with_optimizer=with_optimizer, tracking_uri=tracking_uri)
    begun = started_from(workspace, sweep)
    with told_by_line(f"--from {found.name}", given):
        run_and_tell(begun, workers=None, storage=storage, tracking_uri=tracking_uri, with_report=with_report)

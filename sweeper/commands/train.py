"""`sweeper train`: going on from a trial."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.commands.options import (
    GoesToOption,
    OverridesOption,
    ReportOption,
    StorageOption,
    TrackingNameOption,
    with_tracking_name,
)
from sweeper.commands.running import check_names, run_and_tell
from sweeper.commands.studies import require_storage, storage_url, this_workspace
from sweeper.commands.terminal import say


def train(
    source: Annotated[
        str,
        typer.Option("--from", metavar="TRIAL", help="STUDY or STUDY/best, STUDY/NUMBER, or the id of an MLflow run."),
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
    tracking_uri: GoesToOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Go on from a trial's best weights with other settings, as a study of its own.

    After an interruption run the same command again to continue.

    Its run has the history of its source, goes on counting epochs from there, and links to it. `--set study=NAME`
    names it. `unfreezing` and `progressive_resizing` of the source do not begin again unless you set them.
    """
    from sweeper.config.loading import naming_lines
    from sweeper.study.continuation import continued_sweep, set_anew
    from sweeper.study.continue_from import fetch_start, started_from
    from sweeper.study.source import find_source

    workspace = this_workspace()
    url = storage_url(workspace, storage)
    require_storage(workspace, storage)
    found = find_source(workspace, url, source, tracking_uri)
    given = with_tracking_name(overrides, tracking_name)
    sweep = continued_sweep(
        found,
        given,
        epochs=epochs,
        with_optimizer=with_optimizer,
        check_names=check_names,
    )
    fetch_start(
        workspace,
        url,
        found,
        sweep.study,
        with_optimizer=with_optimizer,
        anew=set_anew(given),
        tracking_uri=tracking_uri,
    )
    say(f"{sweep.study} goes on from {found.name}, whose best epoch is {found.best_epoch} of {found.row.epochs}")
    begun = started_from(workspace, sweep)
    with naming_lines(f"--from {found.name}", given):
        run_and_tell(begun, workers=None, storage=storage, tracking_uri=tracking_uri, with_report=with_report)

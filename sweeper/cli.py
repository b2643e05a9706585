"""The `sweeper` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from sweeper import __version__
from sweeper.commands import choosing, data, growing, models, reports, shipping, sweeps
from sweeper.commands.running import say_disk_use
from sweeper.commands.streams import outlast_the_reader
from sweeper.commands.studies import (
    AdoptOption,
    StorageOption,
    StudyArgument,
    TrackingNameOption,
    TrackingOption,
    has_studies,
    open_study,
    storage_url,
    this_workspace,
    winner_of,
)
from sweeper.commands.terminal import refuse, say, show, warn, write, write_json
from sweeper.credentials import log_without_credentials
from sweeper.errors import SweeperError

LISTED_TRIALS = 200
"""`status` lists so many of the latest trials, unless all are asked for."""

app = typer.Typer(
    help="Search hyperparameters of image classifiers: a YAML search space in, the best model out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors of ours become a message and their exit code."""
    outlast_the_reader()
    log_without_credentials(logging.WARNING, "%(message)s")
    try:
        app()
    except SweeperError as error:
        refuse(f"error: {error}")
        sys.exit(error.exit_code)


app.command()(sweeps.run)
app.command()(sweeps.train)
app.command()(models.predict)
app.command()(models.evaluate)
app.command()(choosing.confirm)
app.command()(choosing.reproduce)
app.command()(growing.extend)
app.command()(reports.report)
app.command()(reports.diff)
app.command()(shipping.register)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show:
        say(__version__)
        raise typer.Exit


@app.command()
def status(
    study: StudyArgument = None,
    every: Annotated[bool, typer.Option("--all", help=f"List every trial, not the latest {LISTED_TRIALS}.")] = False,
    storage: StorageOption = None,
) -> None:
    """List the trials of a study: state, best value, epoch, duration and reason."""
    from sweeper.display.tables import status_table
    from sweeper.standings.no_winner import has_finished, without_winner

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    rows = store.rows() if every else store.latest_rows(LISTED_TRIALS)
    ended, known = store.count_ended()
    say(f"study {store.sweep.study}: {ended} of {store.budget} trials ended")
    if len(rows) < known:
        say(f"listed: {len(rows)} of {known} trials, the latest and those that have not ended; --all lists every one")
    show(status_table(rows, store.sweep))
    if any(row.state.ended for row in rows) and not has_finished(rows):
        warn(without_winner(store.sweep.study, rows))
    say_disk_use(workspace)


@app.command()
def best(
    study: StudyArgument = None,
    export: Annotated[bool, typer.Option("--export", help="Export the winner and check every format.")] = False,
    to: Annotated[Path | None, typer.Option(help="Folder of the export, by default exports/STUDY.")] = None,
    prefer: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Take the best in this metric or cost, such as parameters.")
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=0, help="... among trials whose objective is at most so much worse.")
    ] = None,
    register: shipping.RegisterOption = True,
    fp16: shipping.Fp16Option = False,
    int8: shipping.Int8Option = False,
    tolerance: shipping.ToleranceOption = 0.01,
    soup: shipping.SoupOption = False,
    ensemble: shipping.EnsembleOption = False,
    leaders: shipping.LeadersOption = 5,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Print the winner of a study with its parameters and the runners-up; export and register it.

    It is the trial that `sweeper confirm` chose, else the one with the best objective. Of several objectives it
    is the one on the Pareto front that is best in the first that judges the model, or in the one you prefer.
    """
    from sweeper.display.confirmation import confirmed_lines
    from sweeper.display.tables import params_table, ranked_table, score
    from sweeper.standings.winner import confirmed

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    sweep, rows = store.sweep, store.rows()
    row, found = winner_of(store, prefer, within), None if prefer else confirmed(store)
    say(
        f"study {sweep.study}: trial {row.number} is best, {sweep.objective.metric} {score(row.value)} "
        f"in epoch {row.best_epoch}"
    )
    for line in confirmed_lines(found, sum(row.ended_ms is not None for row in rows)) if found else ():
        say(line)
    show(params_table(row, rows))
    show(ranked_table(rows, sweep, limit=5))
    if export or to:
        asked = shipping.Asked(fp16=fp16, int8=int8, soup=soup, ensemble=ensemble, leaders=leaders, tolerance=tolerance)
        shipping.export(workspace, store, row, asked, to, tracking_uri, register=register)


@app.command()
def sync(
    study: StudyArgument = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Deliver to MLflow what could not be delivered while the sweep ran."""
    from sweeper.upkeep.sync import sync_study

    workspace = this_workspace()
    name = open_study(workspace, storage, study).sweep.study
    count = sync_study(workspace, storage_url(workspace, storage), name, tracking_uri, tracking_name)
    say(f"study {name}: {count} trials were waiting; MLflow has everything now")


@app.command()
def doctor(
    study: StudyArgument = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired.")] = False,
    adopt: AdoptOption = False,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Check this machine and whether a study's trials, runs and files agree; exit code 1 when something is wrong."""
    from sweeper.display.tables import findings_table
    from sweeper.tracking.mlflow_store import default_tracking_uri
    from sweeper.upkeep.doctor import examine_study
    from sweeper.upkeep.machine_check import examine_machine

    workspace = this_workspace()
    url = storage_url(workspace, storage)
    findings = examine_machine(workspace, url, tracking_uri or default_tracking_uri(workspace))
    show(findings_table(findings))
    if study or has_studies(workspace, storage):
        name = open_study(workspace, storage, study).sweep.study
        about = examine_study(workspace, url, name, tracking_uri, fix=fix, adopt=adopt)
        show(findings_table(about))
        findings += about
    if not all(finding.sound for finding in findings):
        raise typer.Exit(1)


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A page with every key and its default instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a search space, for editors."""
    from sweeper.config.reference import markdown as reference
    from sweeper.config.sweep import json_schema

    if markdown:
        write(f"{reference()}\n")
    else:
        write_json(json_schema())

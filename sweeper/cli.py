"""The `sweeper` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import importlib
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper import __version__
from sweeper.commands import data, models, shipping
from sweeper.commands.studies import (
    StorageOption,
    StudyArgument,
    TrackingOption,
    has_studies,
    open_study,
    storage_url,
    this_workspace,
    winner_of,
)
from sweeper.commands.terminal import err, out, printable
from sweeper.credentials import hide_credentials, log_without_credentials
from sweeper.errors import SweeperError

if TYPE_CHECKING:
    from sweeper.config.names import NamesUsed
    from sweeper.paths import Workspace
    from sweeper.study.driver import SweepResult

INTERRUPTED = 130
AUTO = "auto"
MLFLOW_PAGE = "http://127.0.0.1:5000"  # where a bare `mlflow ui` answers

app = typer.Typer(
    help="Search hyperparameters of image classifiers: a YAML search space in, the best model out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors of ours become a message and their exit code."""
    log_without_credentials(logging.WARNING, "%(message)s")
    try:
        app()
    except SweeperError as error:
        message = printable(hide_credentials(f"error: {error}"))
        err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


app.command()(models.predict)
app.command()(models.evaluate)
app.command()(shipping.register)
app.add_typer(data.app, name="data")


def _workers(value: str) -> str:
    if value != AUTO and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"should be a number of at least 1, or {AUTO}, got {value}")
    return value


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show:
        out.print(__version__, highlight=False)
        raise typer.Exit


@app.command()
def run(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: --set search.batch_size=64. Repeatable.")
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            callback=_workers, metavar="N|auto", help="Trials at the same time; auto: as many as fit in memory."
        ),
    ] = "1",
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Run a study up to its budget, or go on with one that was interrupted."""
    from sweeper.config.loading import load_sweep

    sweep = load_sweep(space, overrides or [], _check_names)
    # Only now: a mistake in the file is told sooner, and names are checked by another process meanwhile.
    from sweeper.display.live import LiveTable
    from sweeper.display.plain import PlainLines
    from sweeper.display.tables import ranked_table
    from sweeper.engines.local import LocalEngine
    from sweeper.study.driver import run_sweep
    from sweeper.tracking.mlflow_store import default_tracking_uri

    workspace = this_workspace()
    view = LiveTable if out.is_terminal else PlainLines
    with view(out) as observer:
        result = run_sweep(
            sweep,
            workspace=workspace,
            storage_url=storage_url(workspace, storage),
            tracking_uri=tracking_uri or default_tracking_uri(workspace),
            engine=lambda: LocalEngine(sweep, workspace, None if workers == AUTO else int(workers)),
            observer=observer,
        )
    out.print(ranked_table(result.rows, sweep, limit=20))
    _say_disk_use(workspace)
    _say_what_next(result, sweep.study, tracking_uri or default_tracking_uri(workspace))


def _check_names(used: NamesUsed) -> list[tuple[str, str]]:
    from sweeper.modeling.name_check import check_apart

    return check_apart(used, meanwhile=lambda: importlib.import_module("sweeper.study.driver"))


def _say_disk_use(workspace: Workspace) -> None:
    from sweeper.display.tables import size
    from sweeper.study.disk import disk_use

    use = disk_use(workspace)
    features = f"{size(use.features)} features of frozen backbones, " if use.features else ""
    parts = f"{size(use.images)} decoded images, {features}{size(use.trials)} unfinished or undelivered trials"
    out.print(f"disk: {workspace.state.name} holds {size(use.total)} ({parts})", highlight=False, soft_wrap=True)


def _say_what_next(result: SweepResult, study: str, tracking_uri: str) -> None:
    """Close a run with the outcome, where to look and what to do; exit 130 after an interruption."""
    states = [row.state.value for row in result.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    out.print(f"study {study}: {counts or 'no trials'}", highlight=False)
    if result.stopped_because:
        out.print(f"stopped: {result.stopped_because}", highlight=False, markup=False)
    if result.undelivered:
        out.print(f"{result.undelivered} runs are not in MLflow yet: sweeper sync {study}", highlight=False)
    if result.interrupted:
        command = hide_credentials(shlex.join(["sweeper", *sys.argv[1:]]))  # with every override: they name the study
        out.print(f"interrupted; the same command goes on: {command}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    out.print(f"next: sweeper status {study}   sweeper best {study} --export", highlight=False)
    if result.experiment is not None:
        page = tracking_uri if tracking_uri.startswith("http") else MLFLOW_PAGE
        start = "" if page == tracking_uri else "mlflow ui   then "
        runs = f"{page}/#/experiments/{result.experiment}/runs?workflowType=machine_learning"
        out.print(f"      {start}{hide_credentials(runs)}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def status(study: StudyArgument = None, storage: StorageOption = None) -> None:
    """List the trials of a study: state, best value, epoch, duration and reason."""
    from sweeper.display.tables import status_table

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    rows = store.rows()
    ended = sum(row.ended_ms is not None for row in rows)
    out.print(f"study {store.sweep.study}: {ended} of {store.budget} trials ended", highlight=False)
    out.print(status_table(rows, store.sweep))
    _say_disk_use(workspace)


@app.command()
def best(
    study: StudyArgument = None,
    export: Annotated[bool, typer.Option("--export", help="Export the winner and check every format.")] = False,
    to: Annotated[Path | None, typer.Option(help="Folder of the export, by default exports/STUDY.")] = None,
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
    """Print the winner of a study with its parameters and the runners-up; export and register it."""
    from sweeper.display.tables import params_table, ranked_table, score

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    sweep, rows = store.sweep, store.rows()
    row = winner_of(store)
    out.print(
        f"study {sweep.study}: trial {row.number} is best, {sweep.objective.metric} {score(row.value)} "
        f"in epoch {row.best_epoch}",
        highlight=False,
    )
    out.print(params_table(row, rows))
    out.print(ranked_table(rows, sweep, limit=5))
    if export or to:
        asked = shipping.Asked(fp16=fp16, int8=int8, soup=soup, ensemble=ensemble, leaders=leaders, tolerance=tolerance)
        shipping.export(workspace, store, row, asked, to, tracking_uri, register=register)


@app.command()
def sync(study: StudyArgument = None, storage: StorageOption = None, tracking_uri: TrackingOption = None) -> None:
    """Deliver to MLflow what could not be delivered while the sweep ran."""
    from sweeper.study.sync import sync_study

    workspace = this_workspace()
    name = open_study(workspace, storage, study).sweep.study
    count = sync_study(workspace, storage_url(workspace, storage), name, tracking_uri)
    out.print(f"study {name}: {count} trials were waiting; MLflow has everything now", highlight=False)


@app.command()
def doctor(
    study: StudyArgument = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Check this machine and whether a study's trials, runs and files agree; exit code 1 when something is wrong."""
    from sweeper.display.tables import findings_table
    from sweeper.study.doctor import examine_study
    from sweeper.study.machine import examine_machine
    from sweeper.tracking.mlflow_store import default_tracking_uri

    workspace = this_workspace()
    url = storage_url(workspace, storage)
    findings = examine_machine(workspace, url, tracking_uri or default_tracking_uri(workspace))
    out.print(findings_table(findings))
    if study or has_studies(workspace, storage):
        name = open_study(workspace, storage, study).sweep.study
        about = examine_study(workspace, url, name, tracking_uri, fix=fix)
        out.print(findings_table(about))
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

    out.out(reference() if markdown else json.dumps(json_schema(), indent=2), highlight=False)

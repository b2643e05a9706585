"""Commands that train: `run` for a study, `train` to go on from one of its trials."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.studies import StorageOption, TrackingOption, storage_url, this_workspace
from sweeper.commands.terminal import out, say
from sweeper.credentials import hide_credentials

if TYPE_CHECKING:
    from sweeper.config.names import NamesUsed
    from sweeper.config.sweep import SweepConfig
    from sweeper.paths import Workspace
    from sweeper.study.driver import SweepResult
    from sweeper.study.lineage import Start

INTERRUPTED = 130
AUTO = "auto"
MLFLOW_PAGE = "http://127.0.0.1:5000"  # where a bare `mlflow ui` answers

OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: --set search.batch_size=64. Repeatable.")
]


def _workers(value: str) -> str:
    if value != AUTO and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"should be a number of at least 1, or {AUTO}, got {value}")
    return value


def run(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    overrides: OverridesOption = None,
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

    sweep = load_sweep(space, overrides or [], check_names)
    _run(sweep, workers, storage, tracking_uri)


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
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Go on from a trial's best weights with other settings, as a study of its own; again, after an interruption.

    Its run has the history of its source, goes on counting epochs from there, and links to it. `--set study=NAME`
    names it.
    """
    from sweeper.errors import StudyError
    from sweeper.results import TrialState
    from sweeper.study.continuation import continued_sweep
    from sweeper.study.source import find_source
    from sweeper.study.start import fetch_start, started_from

    workspace = this_workspace()
    found = find_source(workspace, storage_url(workspace, storage), source, tracking_uri)
    sweep = continued_sweep(
        found, overrides or [], epochs=epochs, with_optimizer=with_optimizer, check_names=check_names
    )
    say(f"{sweep.study} goes on from {found.name}, whose best epoch is {found.best_epoch} of {found.row.epochs}")
    start = fetch_start(workspace, found, sweep.study, with_optimizer=with_optimizer, tracking_uri=tracking_uri)
    rows = _run(started_from(workspace, sweep), "1", storage, tracking_uri, start).rows
    if all(row.state is TrialState.FAILED for row in rows):
        raise StudyError(f"{sweep.study} could not be trained: {rows[0].reason}")


def _run(
    sweep: SweepConfig, workers: str, storage: str | None, tracking_uri: str | None, start: Start | None = None
) -> SweepResult:
    """Run a sweep, shown as it goes, and say how it ended and what to do next."""
    # Only now: a mistake in the file is told sooner, and names are checked by another process meanwhile.
    from sweeper.display.live import LiveTable
    from sweeper.display.plain import PlainLines
    from sweeper.display.tables import ranked_table
    from sweeper.engines.local import LocalEngine
    from sweeper.study.driver import run_sweep
    from sweeper.tracking.mlflow_store import default_tracking_uri

    workspace = this_workspace()
    uri = tracking_uri or default_tracking_uri(workspace)
    view = LiveTable if out.is_terminal else PlainLines
    with view(out) as observer:
        result = run_sweep(
            sweep,
            workspace=workspace,
            storage_url=storage_url(workspace, storage),
            tracking_uri=uri,
            engine=lambda: LocalEngine(sweep, workspace, None if workers == AUTO else int(workers)),
            observer=observer,
            start=start,
        )
    out.print(ranked_table(result.rows, sweep, limit=20))
    say_disk_use(workspace)
    _say_what_next(result, sweep.study, uri)
    return result


def check_names(used: NamesUsed) -> list[tuple[str, str]]:
    from sweeper.modeling.name_check import check_apart

    return check_apart(used, meanwhile=lambda: importlib.import_module("sweeper.study.driver"))


def say_disk_use(workspace: Workspace) -> None:
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

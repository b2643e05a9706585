"""Running a study from the command line: the view while it runs, and what to say when it ends."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from sweeper.addresses import STORAGE_VARIABLE
from sweeper.commands.leaving import leave, reason
from sweeper.commands.notifying import tell_of_end, telling_of_errors
from sweeper.commands.ranked import show_ranked
from sweeper.commands.ranking import say_whether_it_held, with_best_backbones
from sweeper.commands.report import write_page_after_run
from sweeper.commands.studies import open_study, storage_url, this_workspace
from sweeper.commands.terminal import out, say, waiting
from sweeper.credentials import hide_credentials
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import quantity

if TYPE_CHECKING:
    from sweeper.config.names_to_check import NamesUsed
    from sweeper.config.sweep import SweepConfig
    from sweeper.engines.simulated.clock import VirtualClock
    from sweeper.paths import Workspace
    from sweeper.study.backbone_ranking import Ranked
    from sweeper.study.deadline import Deadline
    from sweeper.study.result import SweepResult
    from sweeper.study.runner import Runner

MLFLOW_PAGE = "http://127.0.0.1:5000"  # where a bare `mlflow ui` answers
WARM_START = 5  # leaders of another study that a new one begins with


def run_and_tell(
    sweep: SweepConfig,
    *,
    workers: str | None,
    storage: str | None,
    tracking_uri: str | None,
    with_report: bool,
    warm_start_from: str | None = None,
    retry_failed: bool = False,
    started: float | None = None,
    counts_earlier: bool = True,
) -> SweepResult:
    """Run a study up to its budget, show how it goes and what came of it.

    Where the budget is a time, it counts from `started`, by `time.monotonic`; with `counts_earlier` earlier runs of the
    command have used a part of it.
    """
    # Only now: a mistake in the file is reported sooner, and names are checked by another process meanwhile.
    from sweeper.commands.finishing import finish_and_tell
    from sweeper.engines.starting import clock_of
    from sweeper.study.card import tracking_uri_of
    from sweeper.study.hub_weights import refuse_weights_out_of_reach
    from sweeper.study.result import ASKED_TO_STOP
    from sweeper.study.runner import Runner
    from sweeper.study.single_images import refuse_single_images

    workspace = this_workspace()
    runner = Runner(workspace, storage_url(workspace, storage), tracking_uri, workers, clock_of(sweep))
    with telling_of_errors(sweep, workspace, storage) as underway:
        refuse_weights_out_of_reach(sweep, runner.storage_url, retry_failed=retry_failed)
        _warm_start(workspace, storage, warm_start_from, sweep)  # a wrong name is told before backbones are ranked
        deadline = _deadline(sweep, runner.clock, started, of_study=counts_earlier)
        ranks, require = partial(_run_shown, runner), runner.require_possible
        chosen = with_best_backbones(sweep, runner.storage_url, ranks, require, counts_earlier=counts_earlier)
        sweep = chosen.sweep
        refuse_single_images(sweep)
        leaders = _warm_start(workspace, storage, warm_start_from, sweep)
        _say_leaders(leaders, warm_start_from, sweep)
        result = _run_shown(runner, sweep, deadline=deadline, leaders=leaders, retry_failed=retry_failed, ranked=chosen)
        underway.result = result
        uri = tracking_uri_of(workspace, sweep.study, tracking_uri)
        if any(row.value is not None for row in result.rows):
            _show_result(result, chosen, open_study(workspace, storage, sweep.study).sweep)
        if deadline is not None and not result.interrupted:
            underway.exported = finish_and_tell(
                deadline,
                workspace,
                sweep,
                storage=storage,
                tracking_uri=uri,
                workers=workers,
                underway=underway,
                asked_to_stop=result.stopped_because == ASKED_TO_STOP,
            )
        say_disk_use(workspace)
        if with_report and result.experiment and not (result.interrupted or result.undelivered):
            write_page_after_run(workspace, runner.storage_url, sweep.study, uri)
    tell_of_end(result, sweep, workspace, storage, exported=underway.exported)
    _say_what_next(result, sweep, uri, storage, exported=underway.exported)
    return result


def _show_result(result: SweepResult, chosen: Ranked, stored: SweepConfig) -> None:
    """Show the best trials; `stored` has the number of epochs that a deadline has left."""
    from sweeper.standings.pareto import in_order

    show_ranked(result.rows, stored, limit=20, with_best=True)
    say_whether_it_held(chosen, next(iter(in_order(result.rows, stored)), None))


def _run_shown(runner: Runner, sweep: SweepConfig, **more: Any) -> SweepResult:
    """Run a study and show how it goes."""
    from sweeper.display.live import LiveTable
    from sweeper.display.plain import PlainLines
    from sweeper.study.work_underway import watching_work

    view = LiveTable if out.is_terminal else PlainLines
    with view(out) as observer, watching_work(runner.workspace, observer.preparing):
        return runner.run(sweep, observer, **more)


def _deadline(
    sweep: SweepConfig, clock: VirtualClock | None, started: float | None, *, of_study: bool
) -> Deadline | None:
    """Return when the model is to be there, where the budget says so."""
    from sweeper.study.deadline import Deadline

    if sweep.budget.time is None:
        return None
    passed = 0.0 if clock or started is None else time.monotonic() - started
    return Deadline(clock, sweep.budget.time, of_study=of_study, passed=passed)


def _warm_start(
    workspace: Workspace, storage: str | None, study: str | None, sweep: SweepConfig
) -> dict[str, dict[str, Any]]:
    """Return the configurations of another study's leaders by their names; none where no study is named.

    Raises StudyNotFound, NoWinner, and ConfigError for a grid, which tries every combination anyway.
    """
    from sweeper.confirm.repetitions import leaders_of
    from sweeper.errors import ConfigError, Problem
    from sweeper.standings.no_winner import require_finished
    from sweeper.standings.pareto import in_order
    from sweeper.study.trained import require_trained

    if study is None:
        return {}
    if sweep.sampler.name == "grid":
        rule = "the sampler grid tries every combination anyway; leave this out, or take another sampler"
        raise ConfigError([Problem("--warm-start-from", "", rule)])
    store = open_study(workspace, storage, study)
    require_trained(store)
    require_finished(study, store.rows())
    rows = leaders_of(in_order(store.rows(), store.sweep), WARM_START)
    return {f"{study}/{row.number}": row.config.model_dump(mode="json") for row in rows if row.config}


def _say_leaders(leaders: dict[str, dict[str, Any]], study: str | None, sweep: SweepConfig) -> None:
    """Say with which trials of another study a new one begins, if it does, and what of them does not fit."""
    from sweeper.config.space_membership import fit

    if study is None:
        return
    say(f"warm start: if {sweep.study} is new, it first tries the {len(leaders)} best trials of {study}")
    for name, given in leaders.items():
        misfits = fit(sweep.search, given).misfits
        if misfits:
            say(f"  {name}: not in this search space, so that the sampler chooses: {'; '.join(map(str, misfits))}")


def check_names(used: NamesUsed) -> list[tuple[str, str]]:
    """Return a key and a message for every name in a search space that cannot be used."""
    from sweeper.modeling.name_check import check_apart
    from sweeper.modeling.timm_names import surely_unknown

    if unknown := surely_unknown(used):
        return unknown
    with waiting("loading PyTorch, timm and MLflow", at_once=True):
        return check_apart(used, meanwhile=_import_the_driver)


def _import_the_driver() -> None:
    for name in ("sweeper.study.run", "mlflow"):
        importlib.import_module(name)


def say_disk_use(workspace: Workspace) -> None:
    from sweeper.display.tables import size
    from sweeper.upkeep.disk import disk_use

    use = disk_use(workspace)
    parts = {
        "decoded images": use.images,
        "features of frozen backbones": use.features,
        "weights that studies begin from": use.weights,
        "unfinished or undelivered trials": use.trials,
    }
    told = ", ".join(f"{size(count)} {what}" for what, count in parts.items() if count)
    held = f" ({told})" if told else ""
    say(f"disk: {workspace.state.name} holds {size(use.total)}{held}")


def _say_what_next(
    result: SweepResult, sweep: SweepConfig, tracking_uri: str, storage: str | None, *, exported: bool = False
) -> None:
    """Close a run with the outcome, where to look and what to do.

    Exit 130 after an interruption, 75 after SIGTERM. Raises NoWinner where no trial has finished, TrackingRefused
    where MLflow takes no more.
    """
    from sweeper.config.document import shown_assignment
    from sweeper.config.engine import SimulateConfig
    from sweeper.config.task import CLASSIFICATION
    from sweeper.standings.no_winner import only_waits, require_finished
    from sweeper.study.result import ASKED_TO_STOP
    from sweeper.tracking.shared_view import address_query

    study = sweep.study
    states = [row.state.value for row in result.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    say(f"study {study}: {counts or 'no trials'}")
    if result.stopped_because:
        say(f"stopped: {result.stopped_because}")
    if result.interrupted or not result.refused:
        say_undelivered(result, study)
    if result.interrupted:
        given = map(shown_assignment, sys.argv[1:])  # with every override: they name the study
        command = shlex.join(["sweeper", *given])
        say(f"{reason(result)}; run the same command again to continue: {command}")
        leave(result)
    if result.stopped_because == ASKED_TO_STOP and only_waits(result.rows):
        say("no trial is complete yet; run the same command again to continue")
        result.require_taken(study)
        return
    require_finished(study, result.rows)
    if failed := states.count("failed"):
        say(f"{failed} failed: `sweeper run` with the same search space and --retry-failed trains their settings again")
    named = storage and storage != os.environ.get(STORAGE_VARIABLE)  # which the next command reads too
    where = f" --storage {shlex.quote(hide_credentials(storage))}" if storage and named else ""
    if isinstance(sweep.engine, SimulateConfig):
        say(f"simulated: nothing was trained.   next: sweeper status {study}{where}")
    elif exported:
        labels = f"sweeper predict {study} PHOTOS   " if sweep.task.name == CLASSIFICATION.name else ""
        say(f"next: {labels}sweeper best {study}{where}")
    else:
        say(f"next: sweeper status {study}{where}   sweeper best {study} --export{where}")
    if result.experiment is not None:
        page = tracking_uri if tracking_uri.startswith("http") else MLFLOW_PAGE
        start = "" if page == tracking_uri else f"mlflow ui{_not_its_own(tracking_uri)}   then "
        trials = f"{page}/#/experiments/{result.experiment}/runs?{urlencode(address_query(), quote_via=quote)}"
        say(f"      {start}{trials}")
    result.require_taken(study)


def _not_its_own(tracking_uri: str) -> str:
    """Return what `mlflow ui` must be told to show another database than that of the working directory."""
    from sweeper.tracking.mlflow_store import own_address

    if tracking_uri == own_address(this_workspace()):
        return ""
    return f" --backend-store-uri {shlex.quote(hide_credentials(tracking_uri))}"


def say_undelivered(result: SweepResult, study: str) -> None:
    """Say what is not in MLflow yet, and why, where that is known."""
    if result.undelivered:
        say(f"{quantity(result.undelivered, 'run is', 'runs are')} not in MLflow yet: sweeper sync {study}")
        if result.trouble:
            say(f"{'it waits' if result.undelivered == 1 else 'they wait'} on disk: {one_line(result.trouble)}")

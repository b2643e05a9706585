"""`sweeper.run`: a study up to its budget, by the driver of the command `sweeper run`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from sweeper.config.sweep import SweepConfig
from sweeper.confirm.finishing import finish_by
from sweeper.confirm.run import confirm_leaders
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.starting import clock_of, start_engine
from sweeper.errors import ConfigError, NoWinner, Problem, SweeperError
from sweeper.finished.export_trial import export_trial
from sweeper.library.events import Callback
from sweeper.library.notebook import NotebookView, in_notebook
from sweeper.library.space import Space, load_space
from sweeper.library.study import Study, open_study
from sweeper.library.watching import Watching
from sweeper.paths import Workspace
from sweeper.search.stored_studies import storage_url
from sweeper.standings.trial_names import trial_of
from sweeper.study.backbone_ranking import left_out, rank_backbones
from sweeper.study.card import tracking_uri_of
from sweeper.study.deadline import Confirming, ConfirmingLimit, Deadline
from sweeper.study.hub_weights import refuse_weights_out_of_reach
from sweeper.study.observer import Observer
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from sweeper.study.runner import Runner
from sweeper.study.single_images import refuse_single_images

logger = logging.getLogger("sweeper")

Workers = int | Literal["auto"] | None


def run(
    space: Space,
    *,
    callbacks: Sequence[Callback] = (),
    workers: Workers = None,
    device: str | None = None,
    progress: bool | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> Study:
    """Run a study up to its budget in the current folder, or go on with one that was interrupted; return it.

    With `budget.for` it ends by then with the best model exported, as the command does.

    Args:
        space: The path of a search space, a dictionary of its keys, or a loaded one.
        callbacks: Functions that get an `EpochFinished` after each epoch and a `TrialFinished` after each trial.
        workers: Trials at the same time; None: one on each GPU, or one on the CPU; "auto": as many as fit in memory, at
            most one for each CPU core.
        device: Where trials run, in place of what the search space says: auto, cpu, cuda, cuda:1, mps.
        progress: Show the trials while they run, in a notebook; None: yes in a notebook. Elsewhere nothing is shown.
        storage: Optuna's storage, by default $OPTUNA_STORAGE or `optuna.db` in the current folder.
        tracking_uri: MLflow's address, by default that of the study's last run, of a new study $MLFLOW_TRACKING_URI or
            `mlflow.db` in the current folder.

    Raises:
        ConfigError: the search space is wrong.
        DatasetError: the images cannot be used.
        StudyError: the study cannot be opened, or no worker can start.
        NoWinner: `sweeper stop` has ended a ranking of backbones; the same call continues it.
        TrackingError: MLflow cannot be used.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    _require_callbacks(callbacks)
    started = time.monotonic()
    sweep = load_space(space, [] if device is None else [f"device={device}"])
    workspace, clock = Workspace(Path.cwd()), clock_of(sweep)
    runner = Runner(workspace, storage_url(workspace, storage), tracking_uri, _named(workers), clock)
    shown = in_notebook() if progress is None else progress and in_notebook()
    watching = Watching(callbacks, NotebookView() if shown else None)
    deadline = _deadline(sweep, clock, started)
    if sweep.notify.command or sweep.notify.webhook:
        logger.warning("`notify` works with the commands `sweeper run`, `extend` and `train`: here nobody is notified")
    quiet = Watching((), None)  # whose trials have numbers of their own
    ranked = rank_backbones(sweep, runner.storage_url, partial(runner.run, observer=quiet), runner.require_possible)
    for name, why in left_out(ranked):
        logger.warning("%s could not be ranked and is left out: %s", name, why)
    if ranked.undecided and ranked.result and ranked.ranking:
        _require_undisturbed(ranked.result, ranked.ranking)
        raise NoWinner(f"the ranking of the backbones of {sweep.study} was stopped; the same call continues it")
    sweep = ranked.sweep
    refuse_single_images(sweep)
    refuse_weights_out_of_reach(sweep, runner.storage_url)
    result = runner.run(sweep, watching, deadline=deadline, ranked=ranked)
    _require_undisturbed(result, sweep)
    study = open_study(sweep.study, storage=storage, tracking_uri=tracking_uri)
    if deadline is not None and clock is None:
        asked_to_stop = result.stopped_because == ASKED_TO_STOP
        _finish(deadline, study, runner.workers, quiet, confirmed=not asked_to_stop)
    return study


def _finish(deadline: Deadline, study: Study, workers: str | None, observer: Observer, *, confirmed: bool) -> None:
    """Export the best model, and train the best trials again, in what is left of the time."""
    store, workspace = study.store, study.workspace
    folder = workspace.study(study.name).confirmation

    def confirm(plan: Confirming | None) -> None:
        if not confirmed:
            return
        if plan is None:
            logger.warning("the best trial of %s is exported and not confirmed: no time is left for it", study.name)
            return
        try:
            found = confirm_leaders(
                store,
                top=plan.leaders,
                seeds=plan.seeds,
                workspace=workspace,
                tracking_uri=tracking_uri_of(workspace, study.name, study.tracking_uri),
                engine=lambda: start_engine(store.sweep, workspace, workers, folder),
                observer=observer,
                limit=ConfirmingLimit(deadline, store.sweep.budget.epochs),
            )
        except SweeperError as error:
            logger.warning("the best trial of %s is exported and not confirmed: %s", study.name, error)
            return
        if found.run.interrupted:
            raise KeyboardInterrupt
        if found.judged is None:
            why = found.nothing or "fewer than two fresh seeds of each were trained"
            logger.warning("the best trial of %s is exported and not confirmed: %s", study.name, why)

    def export(number: int) -> None:
        export_trial(workspace, store, trial_of(store, number), workspace.export(study.name), study.tracking_uri)

    try:
        finish_by(deadline, store, workspace, export, confirm)
    except SweeperError as error:
        logger.warning("the search of %s is complete, and what follows it failed: %s", study.name, error)


def _deadline(sweep: SweepConfig, clock: VirtualClock | None, started: float) -> Deadline | None:
    """Return when the best model is to be there, where the budget says so; `started` by `time.monotonic`."""
    if sweep.budget.time is None:
        return None
    passed = 0.0 if clock else time.monotonic() - started
    return Deadline(clock, sweep.budget.time, passed=passed)


def _named(workers: Workers) -> str | None:
    number = isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1
    if workers is None or workers == "auto" or number:
        return None if workers is None else str(workers)
    raise ConfigError([Problem("workers", "", f'should be a number of at least 1, "auto" or None, got {workers!r}')])


def _require_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raise ConfigError for what cannot be called, before anything is trained."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise ConfigError([Problem("callbacks", "", f"should be a list of functions, got {callbacks!r}")])


def _require_undisturbed(result: SweepResult, sweep: SweepConfig) -> None:
    if result.interrupted:
        raise KeyboardInterrupt
    result.require_taken(sweep.study)

"""What Optuna, MLflow and the disk say about a study, where they disagree, and what mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial

from sweeper.errors import StudyError, SweeperError, TrackingError
from sweeper.files import write_whole
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import TrialRow, TrialSpec, TrialState
from sweeper.search.samplers import trial_seed
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, tracking_uri_of
from sweeper.study.findings import Finding
from sweeper.study.lock import study_lock
from sweeper.tracking.delivery import STATE_TAG, STATUS, SWEEP, TRIAL_TAG, Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.run_listing import ListedRun


def examine_study(
    workspace: Workspace, storage_url: str, study: str, tracking_uri: str | None, *, fix: bool
) -> list[Finding]:
    """Return where the stores of a study disagree, mended where `fix` is set and it can be.

    Raises StudyLocked while a driver runs it and StudyNotFound when there is no such study.
    """
    store = StudyStore.load(storage_url, study)
    with study_lock(workspace.study(study), study):
        findings = [*_on_disk(store, workspace), *_in_mlflow(store, workspace, tracking_uri)]
        mended = [_mended(finding) if fix and finding.mend else finding for finding in findings]
    return mended or [Finding("study", f"the trials, runs and files of {study} agree")]


def _mended(finding: Finding) -> Finding:
    try:
        if finding.mend:
            finding.mend()
    except (SweeperError, OSError) as error:
        return Finding(finding.subject, f"{finding.what}; not mended: {error}", finding.remedy)
    return Finding(finding.subject, f"{finding.what}: mended")


def _on_disk(store: StudyStore, workspace: Workspace) -> Iterator[Finding]:
    """Compare Optuna's trials with the folders: what runs without a driver, what belongs to nobody."""
    rows = {row.number: row for row in store.rows()}
    running = [number for number, row in rows.items() if row.state is TrialState.RUNNING]
    if running:
        what = f"{_trials(running)} marked as running, and no driver is"
        yield Finding("Optuna", what, "--fix puts them back in line for `sweeper run`", partial(_requeue, store))
    folder = workspace.study(store.sweep.study)
    for leftover in folder.delivered():
        yield Finding("disk", f"{leftover} is half removed", "--fix removes it", partial(shutil.rmtree, leftover))
    for trial in folder.trials():
        row = rows.get(trial.number)
        if row is None:
            what = f"{trial.path} belongs to no trial of the study"
            yield Finding("disk", what, "--fix removes it", partial(shutil.rmtree, trial.path))
        elif row.ended_ms is not None and trial.checkpoint.exists():
            what = f"trial {trial.number} has ended and has a checkpoint"
            yield Finding("disk", what, "--fix removes it", partial(trial.checkpoint.unlink, missing_ok=True))


def _requeue(store: StudyStore) -> None:
    store.requeue_interrupted()


def _in_mlflow(store: StudyStore, workspace: Workspace, tracking_uri: str | None) -> Iterator[Finding]:
    """Compare Optuna's trials with MLflow's runs."""
    card = read_card(workspace.study(store.sweep.study))
    if card is None:
        yield Finding("MLflow", "the study was not run in this folder; its runs were not looked at")
        return
    try:
        mlflow = MlflowStore(tracking_uri_of(workspace, store.sweep.study, tracking_uri), workspace)
        runs = mlflow.listing(store.sweep.study, TRIAL_TAG)
    except TrackingError as error:
        yield Finding("MLflow", str(error), "start the server or name another with --tracking-uri")
        return
    rows = {row.number: row for row in store.rows()}
    yield from _missing(store, workspace, card, mlflow, runs)
    yield from _twice(mlflow, runs)
    yield from _left_open(mlflow, runs, rows)


def _missing(
    store: StudyStore, workspace: Workspace, card: StudyCard, mlflow: MlflowStore, runs: list[ListedRun]
) -> Iterator[Finding]:
    """Find ended trials whose run is missing or incomplete."""
    folder = workspace.study(store.sweep.study)
    recorded = {run.tag for run in runs}
    for row in store.rows():
        trial = folder.trial(row.number)
        deliver = partial(_deliver, store, workspace, card, mlflow, row)
        if row.ended_ms is None:
            continue
        if trial.path.is_dir():
            what = f"trial {row.number} has not been delivered completely"
            yield Finding("MLflow", what, "--fix or `sweeper sync` delivers it", deliver)
        elif str(row.number) not in recorded:
            what = f"trial {row.number} has no run"
            yield Finding("MLflow", what, "--fix makes one of what Optuna knows, without curves and weights", deliver)


def _deliver(store: StudyStore, workspace: Workspace, card: StudyCard, mlflow: MlflowStore, row: TrialRow) -> None:
    """Deliver a trial's folder; what is lacking in it comes from Optuna."""
    folder = workspace.study(store.sweep.study)
    _complete(folder.trial(row.number), row, store)
    delivery = Delivery(mlflow, folder, card)
    delivery.deliver_trial(folder.trial(row.number), ended=True, running=False)
    delivery.deliver_sweep("KILLED" if store.remaining() else "FINISHED")


def _complete(trial: TrialFolder, row: TrialRow, store: StudyStore) -> None:
    if row.config is None or row.outcome is None:
        raise StudyError(f"Optuna has no parameters or no outcome of trial {row.number}")
    sweep = store.sweep
    seed = trial_seed(sweep.seed, row.number)
    spec = TrialSpec(number=row.number, seed=seed, epochs=sweep.budget.epochs, config=row.config, task=sweep.task)
    content = {trial.spec: spec.model_dump_json(), trial.outcome: row.outcome.model_dump_json(), trial.history: "[]"}
    for path, text in content.items():
        if not path.exists():
            write_whole(path, text)


def _twice(mlflow: MlflowStore, runs: list[ListedRun]) -> Iterator[Finding]:
    """Find runs of a trial that has an earlier one."""
    seen: set[str] = set()
    for run in runs:
        if run.tag in seen:
            what = f"the run {run.name} is there twice"
            yield Finding("MLflow", what, "--fix deletes the later one", partial(mlflow.delete_run, run.id))
        elif run.tag:
            seen.add(run.tag)


def _left_open(mlflow: MlflowStore, runs: list[ListedRun], rows: dict[int, TrialRow]) -> Iterator[Finding]:
    """Find runs that are marked as running, by a driver that died or by another tool."""
    for run in runs:
        if run.status == "RUNNING":
            yield Finding("MLflow", f"{run.name} is marked as running", "--fix closes it", _closing(mlflow, run, rows))


def _closing(mlflow: MlflowStore, run: ListedRun, rows: dict[int, TrialRow]) -> Callable[[], None]:
    """Return what closes a run: as its trial ended, else as interrupted."""
    trial = run.tag or ""
    row = rows.get(int(trial)) if trial.isdigit() else None
    ended = row.state if row is not None and row.state in STATUS else None
    whole = trial == SWEEP and all(row.ended_ms is not None for row in rows.values())

    def close() -> None:
        if trial != SWEEP:
            mlflow.set_tags(run.id, {STATE_TAG: ended.value if ended else "interrupted"})
        mlflow.end(run.id, "FINISHED" if whole else STATUS[ended] if ended else "KILLED", mlflow.last_ms(run.id))

    return close


def _trials(numbers: list[int]) -> str:
    return f"trial {numbers[0]} is" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))} are"

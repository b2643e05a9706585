"""What Optuna, MLflow and the disk say about a study, where they disagree, and what repairs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from pydantic import BaseModel

from sweeper.errors import ForeignStudy, SweeperError
from sweeper.paths import Workspace
from sweeper.results import TrialRow, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.search.suggest import Known, suggest
from sweeper.study.claim import Claim, claim_study, settle, take_storage
from sweeper.study.holding import leased
from sweeper.study.lock import study_lock
from sweeper.upkeep.damage import damaged_files, damaged_identity
from sweeper.upkeep.finding import Finding
from sweeper.upkeep.reproductions import abandoned, remove_abandoned
from sweeper.upkeep.run_check import examine_runs


def examine_study(
    workspace: Workspace, storage_url: str, study: str, tracking_uri: str | None, *, fix: bool, adopt: bool = False
) -> list[Finding]:
    """Return where the stores of a study disagree, repaired where `fix` is set and it can be.

    `adopt` makes this folder the owner of the study. Raises StudyLocked while a driver
    runs it and StudyNotFound when the study is missing.
    """
    store = StudyStore.load(storage_url, study)
    with study_lock(workspace.study(study), study, which="checks it"), ExitStack() as held:
        findings = _repaired_all(damaged_identity(workspace.study(study)), fix=fix)
        if not all(finding.sound for finding in findings):
            return findings
        try:
            claim = claim_study(workspace, storage_url, study, adopt=adopt)
        except ForeignStudy as error:
            return [Finding("study", str(error), f"sweeper doctor {study} --adopt, where it should go on here")]
        findings += _place(claim, fix=fix or adopt)
        if fix or adopt:
            held.enter_context(leased(store, claim.identity))
            settle(replace(claim, news=None), workspace)  # said below
            take_storage(claim, store)
        damaged = _repaired_all(damaged_files(workspace, store, tracking_uri), fix=fix)
        findings += damaged
        if all(finding.sound for finding in damaged):
            findings += _repaired_all(_on_disk(store, workspace), fix=fix)
            findings += _stored_twice(store)
            findings += _repaired_all(examine_runs(workspace, store, tracking_uri, claim.identity), fix=fix)
    return findings or [Finding("study", f"the trials, runs and files of {study} agree")]


def _place(claim: Claim, *, fix: bool) -> Iterator[Finding]:
    """Tell of a folder that was moved or copied, and of a study that another folder had."""
    if claim.news and fix:
        yield Finding("study", f"{claim.news}: written down")
    elif claim.news:
        yield Finding("study", claim.news, "--fix writes that down, and so does `sweeper run`")


def _repaired_all(findings: Iterator[Finding], *, fix: bool) -> list[Finding]:
    return [_repaired(finding) if fix and finding.repair else finding for finding in list(findings)]


def _repaired(finding: Finding) -> Finding:
    try:
        if finding.repair:
            finding.repair()
    except (SweeperError, OSError, ValueError) as error:
        return Finding(finding.subject, f"{finding.what}; not repaired: {error}", finding.remedy)
    return Finding(finding.subject, f"{finding.what}: repaired")


def _stored_twice(store: StudyStore) -> Iterator[Finding]:
    """Compare the parameters of the trials with their configurations, which bear a digest."""
    for row in store.rows():
        if row.outside is None and row.config_json and not _agree(store.sweep.search, row):
            what = f"the settings of trial {row.number} stand in two places of the storage, and disagree"
            remedy = "the storage is damaged, or another program has changed it; bring back a copy from before"
            yield Finding("Optuna", what, remedy)


def _agree(space: BaseModel, row: TrialRow) -> bool:
    try:
        return suggest(space, Known(row.params)) == row.config
    except (ValueError, LookupError):
        return False


def _on_disk(store: StudyStore, workspace: Workspace) -> Iterator[Finding]:
    """Compare Optuna's trials with the folders: what runs without a driver, what belongs to nobody."""
    rows = {row.number: row for row in store.rows()}
    running = [number for number, row in rows.items() if row.state is TrialState.RUNNING]
    if running:
        what = f"{_trials(running)} marked as running, and no driver is"
        yield Finding("Optuna", what, "--fix puts them back in the queue for `sweeper run`", partial(_requeue, store))
    for left in abandoned(workspace):
        what = f"{left} is left of a `sweeper reproduce` that was killed"
        yield Finding("disk", what, "--fix removes it", partial(remove_abandoned, left))
    folder = workspace.study(store.sweep.study)
    for leftover in folder.delivered():
        yield Finding("disk", f"{leftover} is half removed", "--fix removes it", partial(shutil.rmtree, leftover))
    for trial in folder.trials():
        row = rows.get(trial.number)
        if row is None:
            what = f"{trial.path} belongs to no trial of the study"
            yield Finding("disk", what, "--fix removes it", partial(shutil.rmtree, trial.path))
        elif row.ended_ms is not None and any(file.exists() for file in trial.to_go_on()):
            what = f"trial {trial.number} has ended and has files to go on from, checkpoints or weights of epochs"
            yield Finding("disk", what, "--fix removes them", trial.remove_to_go_on)


def _requeue(store: StudyStore) -> None:
    store.requeue_interrupted()


def _trials(numbers: list[int]) -> str:
    return f"trial {numbers[0]} is" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))} are"

"""The runs of some trials of a study, whole.

A server takes seconds for a thousand whole runs, so that of a large study it is asked for those of the trials alone:
first for a page of the best, since mostly the best are wanted, and then for what is lacking, trial by trial.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sweeper.tracking import run_listing
from sweeper.tracking.runs import RunSummary, summary
from sweeper.tracking.tags import TRIAL_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FEW = 20
"""Trials that are asked for one by one at once: that is quicker than a page."""

MOST_AT_ONCE = 1000  # in one answer, which must come within the seconds that a request may take
RUNS_AT_ONCE = 100  # read whole by one request, by their ids


def runs_of_trials(
    client: MlflowClient, experiment: str, trials: Collection[int], best_first: str
) -> dict[int, RunSummary]:
    """Return the run of each trial that has one, the later of two. `best_first` orders runs by what they reached."""
    if run_listing.has_tables(client):
        return _in_database(client, experiment, trials)
    return _on_server(client, experiment, trials, best_first)


def runs_by_id(client: MlflowClient, experiment: str, runs: Sequence[str]) -> list[RunSummary]:
    """Return runs of an experiment in any order."""
    return [
        summary(run)
        for start in range(0, len(runs), RUNS_AT_ONCE)
        for run in client.search_runs(
            [experiment], f"attributes.run_id IN ({', '.join(map(repr, runs[start : start + RUNS_AT_ONCE]))})"
        )
    ]


def _in_database(client: MlflowClient, experiment: str, trials: Collection[int]) -> dict[int, RunSummary]:
    listed = {run.tags.get(TRIAL_TAG): run.id for run in run_listing.list_runs(client, experiment, [TRIAL_TAG])}
    wanted = [listed[trial] for trial in map(str, trials) if trial in listed]
    return {int(run.tags[TRIAL_TAG]): run for run in runs_by_id(client, experiment, wanted)}


def _on_server(
    client: MlflowClient, experiment: str, trials: Collection[int], best_first: str
) -> dict[int, RunSummary]:
    found: dict[str, RunSummary] = {}
    if len(trials) > FEW:
        some = f"tags.`{TRIAL_TAG}` LIKE '%'"
        most = min(len(trials), MOST_AT_ONCE)
        found = _by_trial(client.search_runs([experiment], some, max_results=most, order_by=[best_first]))
    lacking = [trial for trial in map(str, trials) if trial not in found]

    def ask(trial: str) -> Iterable[Run]:
        return client.search_runs([experiment], f"tags.`{TRIAL_TAG}` = '{trial}'")

    with ThreadPoolExecutor(run_listing.AT_ONCE, thread_name_prefix="runs") as threads:
        found |= _by_trial(run for runs in threads.map(ask, lacking) for run in runs)
    return {trial: found[str(trial)] for trial in trials if str(trial) in found}


def _by_trial(runs: Iterable[Run]) -> dict[str, RunSummary]:
    oldest_first = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
    return {run.data.tags[TRIAL_TAG]: summary(run) for run in oldest_first}

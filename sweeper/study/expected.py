"""What a study's winner can be expected to reach on new images, from what its trials have left."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sweeper.config.task import CLASSIFICATION
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow, TrialState
from sweeper.scores.expected_accuracy import ExpectedAccuracy, Right, expected_accuracy
from sweeper.scores.predictions import Ids
from sweeper.scores.right import read_right
from sweeper.search.study_store import StudyStore
from sweeper.standings.pareto import in_order
from sweeper.standings.winner import study_winner
from sweeper.study.recorded import own_folder
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.runs import RunSummary
from sweeper.tracking.study_records import StudyRecords

logger = logging.getLogger(__name__)

MOST_TRIALS = 50
"""Those ranked first: others are hardly ever chosen, whatever the images."""
AT_ONCE = 8  # requests to a server far away


def expected_of_study(
    workspace: Workspace,
    store: StudyStore,
    logged: StudyRecords,
    runs: Mapping[int, RunSummary] | None = None,
) -> ExpectedAccuracy | None:
    """Return what the best of a study's trials reaches on new images.

    None where they do not say which validation images they have right: of another task, without names of the images,
    or trained by an earlier version. A trial whose file is damaged is left out. Where another metric than the accuracy
    chooses, the estimate is of the most accurate epoch all the same, and says so. None, too, where a confirmation has
    chosen another trial than the search: the estimate is of choosing by the search. `runs` are those of its trials,
    where they are known already. Raises TrackingError when MLflow cannot be reached.
    """
    if store.sweep.task.name != CLASSIFICATION.name:
        return None
    complete = [row for row in in_order(store.rows(), store.sweep) if row.state is TrialState.COMPLETE]
    winner = study_winner(store)
    if winner is not None and complete and winner.number != complete[0].number:
        return None
    rows, own = complete[:MOST_TRIALS], own_folder(workspace, store)
    if runs is None:
        runs = logged.of_trials({row.number for row in rows}, store.sweep.objective)

    def read(row: TrialRow) -> tuple[Ids, Right] | None:
        kept = own.trial(row.number).right
        try:
            if kept.exists():
                return read_right(kept)
            return _of_run(logged.store, runs[row.number], kept.name) if row.number in runs else None
        except StudyError as error:
            logger.warning("trial %d is left out of the expected accuracy: %s", row.number, error)
            return None

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="right") as threads:
        found = [one for one in threads.map(read, rows) if one is not None]
    expected = expected_accuracy(list(_of_the_same_images(found)))
    if expected is None:
        return None
    chosen_by = store.sweep.objective.metric
    # Of those that were not read none is more accurate only where they were ranked by that.
    trials = len(complete) if chosen_by == expected.chosen_by else len(found)
    return expected.model_copy(update={"trials": trials, "chosen_by": chosen_by})


def _of_run(tracking: MlflowStore, run: RunSummary, name: str) -> tuple[Ids, Right] | None:
    if name not in tracking.sizes(run, ""):
        return None
    with tempfile.TemporaryDirectory(prefix="sweeper-right-") as folder:
        return read_right(tracking.fetch(run, name, Path(folder)))


def _of_the_same_images(found: list[tuple[Ids, Right]]) -> Iterator[Right]:
    """Yield what trials have right of the images of the first one."""
    for images, right in found:
        if np.array_equal(images, found[0][0]):
            yield right

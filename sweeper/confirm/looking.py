"""Looking at the test split for a confirmation: measuring the winner, and recording that in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.confirm.test_split import Look, keep_look, looks
from sweeper.finished.evaluate import evaluate_trial
from sweeper.finished.looks import digests, unchanged
from sweeper.finished.tasks import finished_task
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import find_run
from sweeper.tracking.tags import CONFIRMED_TAG, LOOK_FORCED_TAG
from sweeper.tracking.test_split_looks import record_test_look

if TYPE_CHECKING:
    import torch

    from sweeper.data.progress import Progress


def look_at_test_split(
    workspace: Workspace,
    store: StudyStore,
    winner: int,
    *,
    device: torch.device,
    tracking_uri: str | None,
    now_ms: int,
    progress: Progress | None = None,
) -> None:
    """Measure the winner on the test split, write the files of that, and keep the look.

    Raises DatasetError when there is no test split, StudyError when the trial has no weights.
    """
    sweep, folder = store.sweep, workspace.study(store.sweep.study)
    report = evaluate_trial(
        workspace,
        store,
        store.rows()[winner],
        "test",
        finished_task(sweep),
        device=device,
        tracking_uri=tracking_uri,
        progress=progress,
    )
    written = report.write(workspace.evaluation(sweep.study, "test"), force=None)
    look = Look(
        trial=winner,
        metrics=report.values,
        images=report.images,
        digest=report.digest,
        when_ms=now_ms,
        forced=bool(looks(folder)),
        files=digests(workspace, written),
    )
    keep_look(folder, look)


def record_looks(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> None:
    """Record in MLflow the looks that it does not know of yet. Raises StudyError and TrackingError."""
    folder, rows = workspace.study(store.sweep.study), store.rows()
    for look in looks(folder):
        if not look.recorded:
            files = list(unchanged(workspace, look.files))  # a later evaluation replaces them
            mlflow, run = find_run(workspace, store, rows[look.trial], tracking_uri)
            epoch = rows[look.trial].best_epoch or 0
            record_test_look(mlflow, run, look.metrics, epoch, files, look.digest, look.when_ms)
            forced = {LOOK_FORCED_TAG: "true"} if look.forced else {}
            mlflow.set_tags(run, {CONFIRMED_TAG: "true", **forced})
            keep_look(folder, look.model_copy(update={"recorded": True}))

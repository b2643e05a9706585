"""The test split in a trial's run: its metrics and files, and how often it has been looked at.

Who looks at the test split again and again, and chooses by it, has made a second validation split of it.
So every look is counted where everyone sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.tags import LOOK_DIGEST_TAG, LOOKED_AT_TAG, LOOKS_TAG

KEPT_TIMES = 20
FOLDER = "test"


def record_test_look(
    store: MlflowStore,
    run: str,
    values: Mapping[str, float],
    epoch: int,
    files: Sequence[Path],
    digest: str,
    now_ms: int,
) -> None:
    """Log `test/...` metrics at the epoch that was evaluated, upload files, and count the look.

    A look that is counted is not counted again, where what follows did not arrive the first time.
    """
    tags = store.tags(run)
    count, times = int(tags.get(LOOKS_TAG, "0")), tags.get(LOOKED_AT_TAG, "").split()
    time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    if time not in times:
        count, times = count + 1, [*times, time][-KEPT_TIMES:]
        store.set_tags(run, {LOOKS_TAG: str(count), LOOKED_AT_TAG: " ".join(times), LOOK_DIGEST_TAG: digest})
    store.log_metrics(run, {f"test/{name}": value for name, value in values.items()}, epoch, now_ms)
    for file in files:
        store.log_artifact(run, file, FOLDER)


def times_looked_at(store: MlflowStore, run: str) -> int:
    """Return how many looks are counted in a run."""
    return int(store.tags(run).get(LOOKS_TAG, "0"))

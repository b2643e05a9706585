"""A file of one trial that is damaged costs the report that trial's images, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.paths import Workspace
from sweeper.report.records import read_records
from sweeper.study.recorded import records_of
from tests.report.studies import sweep_of, write_images, write_study


def test_a_trial_whose_predictions_are_damaged_is_shown_without_its_images(
    tmp_path: Path, created: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path)
    workspace.mlflow_database.write_bytes(created.read_bytes())
    classes = ["cat", "dog"]
    paths = write_images(tmp_path / "images", classes, of_each=3)
    store = write_study(workspace, sweep_of(), paths, classes, trials=4)
    (damaged,) = workspace.study("s").trial(1).predictions.glob("*.npz")
    damaged.write_bytes(damaged.read_bytes()[:50])
    records = read_records(workspace, store, records_of(workspace, store, None), store.rows())
    assert [record.predictions is None for record in records] == [False, True, False, False]
    assert records[1].curves["val/accuracy"], "which the storage has"
    assert "trial 1 is shown without its images" in caplog.text

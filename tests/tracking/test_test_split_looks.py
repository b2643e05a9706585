from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import TrackingError
from sweeper.paths import Workspace
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.test_split_looks import record_test_look, times_looked_at

DAY_MS = 86_400_000


def test_looks_at_the_test_split_are_counted_with_their_times(workspace: Workspace, tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{workspace.mlflow_database}", workspace)
    run = store.create_run(StudyRecords(store, Recorded("s")).begin(), "trial-0000", {}, 0)
    file = tmp_path / "scores.json"
    file.write_text("{}")
    looks = []
    for day in range(2):
        record_test_look(store, run, {"f1": 0.5}, 3, [file], "d" * 32, day * DAY_MS)
        looks.append(times_looked_at(store, run))
    assert looks == [1, 2]
    assert store.tags(run)["sweeper.test_looked_at"] == "1970-01-01T00:00:00.000+00:00 1970-01-02T00:00:00.000+00:00"
    assert (store.download(run, "test", tmp_path) / "scores.json").read_text() == "{}"


def test_a_look_whose_files_did_not_arrive_is_counted_once_however_often_it_is_sent(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MlflowStore(f"sqlite:///{workspace.mlflow_database}", workspace)
    run = store.create_run(StudyRecords(store, Recorded("s")).begin(), "trial-0000", {}, 0)
    file = tmp_path / "scores.json"
    file.write_text("{}")

    def lost(*_: object) -> None:
        raise TrackingError("MLflow cannot be reached")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(store, "log_artifact", lost)
            with pytest.raises(TrackingError):
                record_test_look(store, run, {"f1": 0.5}, 3, [file], "d" * 32, DAY_MS)
    record_test_look(store, run, {"f1": 0.5}, 3, [file], "d" * 32, DAY_MS)
    assert times_looked_at(store, run) == 1
    assert store.tags(run)["sweeper.test_looked_at"] == "1970-01-02T00:00:00.000+00:00"
    assert (store.download(run, "test", tmp_path) / "scores.json").read_text() == "{}"

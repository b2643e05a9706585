"""The content of a model file belongs to the study, as its search space does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.engines.protocol import Event
from sweeper.errors import StudyChanged
from sweeper.results import TrialSpec
from sweeper.study.extending import extend_study
from sweeper.study.model_files import require_logged, require_same_model_files
from sweeper.study.source import find_source
from sweeper.tracking.tags import MODEL_FILES_TAG
from tests.field.folders import Here, runs

CHANGED = (
    r"model files have changed since the study s began: net.py \(digest \w+, then \w+\).*bring the old content back"
)


@pytest.fixture
def net(here: Here, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(here.root)
    file = here.root / "net.py"
    file.write_text("layers = 1\n")
    return file


def test_a_model_file_edited_between_two_runs_is_refused_until_the_old_content_is_back(here: Here, net: Path) -> None:
    here.run(1, model_files=["net.py"])
    before = net.read_text()
    net.write_text("layers = 2\n")
    with pytest.raises(StudyChanged, match=CHANGED):
        here.run(2, model_files=["net.py"])
    assert len(here.store.rows()) == 1
    net.write_text(before)
    assert here.run(2, model_files=["net.py"]).undelivered == 0
    assert len(here.store.rows()) == 2


def test_a_model_file_edited_while_a_sweep_runs_begins_no_more_trials(here: Here, net: Path) -> None:
    def trains_and_edits(spec: TrialSpec) -> Iterator[Event]:
        for event in here.trains(spec):
            if spec.number == 1:
                net.write_text("layers = 2\n")
            yield event

    with pytest.raises(StudyChanged, match=CHANGED):
        here.run(4, script=trains_and_edits, model_files=["net.py"])
    assert [row.state.value for row in here.store.rows()] == ["complete", "complete"]


def test_everything_that_builds_the_network_again_asks_for_the_same_file(here: Here, net: Path) -> None:
    sweep = here.sweep(2, model_files=["net.py"])
    here.run(1, model_files=["net.py"])
    net.write_text("layers = 2\n")
    with pytest.raises(StudyChanged, match=CHANGED):
        require_same_model_files(here.store)
    with pytest.raises(StudyChanged, match=CHANGED):
        find_source(here.workspace, here.storage, "s/0", None)
    with pytest.raises(StudyChanged, match=CHANGED):
        extend_study(here.workspace, here.storage, sweep.model_copy(update={"seed": 0}))
    with pytest.raises(StudyChanged, match=CHANGED):
        require_logged("s", runs(here.tracking)["trial-0000"].data.tags, ["net.py"])


def test_the_runs_say_which_content_they_were_trained_with(here: Here, net: Path) -> None:
    here.run(1, model_files=["net.py"])
    for run in runs(here.tracking).values():
        assert list(json.loads(run.data.tags[MODEL_FILES_TAG])) == ["net.py"]


def test_a_moved_model_file_of_the_same_content_is_not_a_change(here: Here, net: Path, tmp_path: Path) -> None:
    here.run(1, model_files=["net.py"])
    moved = here.moved(tmp_path / "moved")
    assert moved.run(2, model_files=["net.py"]).undelivered == 0

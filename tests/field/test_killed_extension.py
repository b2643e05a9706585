"""An extension that dies when only the storage has changed is followed by the files with the next command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sweeper.engines.protocol import Event
from sweeper.errors import StudyError
from sweeper.results import TrialSpec, TrialState, read_outcome
from sweeper.search.extension import extend
from sweeper.study import extending
from sweeper.study.extending import extend_study
from tests.field.folders import Here, runs

WIDER = {"backbone": "r", "image_size": 8, "weight_decay": {"float": [2, 3]}}


def dies_after_its_commit(*args: Any) -> None:
    extend(*args)
    raise StudyError("the machine is lost")


@pytest.fixture
def extended(here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A study with an unfinished trial that the edited search space does not hold, whose extension was killed."""

    def breaks(spec: TrialSpec) -> Iterator[Event]:
        yield next(here.trains(spec))
        raise StudyError("the machine is lost")

    with pytest.raises(StudyError, match="lost"):
        here.run(2, script=breaks)
    with monkeypatch.context() as patch:
        patch.setattr(extending, "extend", dies_after_its_commit)
        with pytest.raises(StudyError, match="lost"):
            extend_study(here.workspace, here.storage, here.sweep(2, search=WIDER))
    assert here.store.rows()[0].outside is not None
    return here


def test_the_same_command_again_leaves_what_the_first_did_not_come_to(extended: Here) -> None:
    found = extend_study(extended.workspace, extended.storage, extended.sweep(2, search=WIDER))
    assert found.aside is None
    assert read_outcome(extended.folder.trial(0).outcome) == extended.store.rows()[0].outcome
    assert written(extended)["weight_decay"] == WIDER["weight_decay"]


def test_a_run_delivers_the_trial_that_the_extension_has_ended(extended: Here) -> None:
    result = extended.run(2, search=WIDER)
    assert (result.undelivered, result.rows[0].state) == (0, TrialState.FAILED)
    assert runs(extended.tracking)["trial-0000"].info.status == "FAILED"
    assert not extended.folder.trial(0).path.exists()
    assert written(extended)["weight_decay"] == WIDER["weight_decay"]


def written(here: Here) -> dict[str, Any]:
    """Return what is searched, as the run of the study says."""
    found: dict[str, Any] = yaml.safe_load(here.folder.search_space.read_text())["search"]
    return found

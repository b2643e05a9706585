"""A study that goes on on another machine: each run says where its trial was trained."""

from __future__ import annotations

import time

import pytest

from sweeper.engines.protocol import TrialEnded
from sweeper.results import TrialOutcome, TrialSpec
from sweeper.tracking.tags import ENVIRONMENT_TAG
from tests.field.folders import Here, runs


class Timed(Here):
    """A working directory whose trials end when they end."""

    def ended(self, spec: TrialSpec, outcome: TrialOutcome) -> TrialEnded:
        return super().ended(spec, outcome.model_copy(update={"timestamp_ms": int(time.time() * 1000)}))


def test_the_runs_of_a_study_that_goes_on_elsewhere_say_on_which_machine_they_were_trained(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that have ended and wait here, as while a server is away."""
    here = Timed(here.root)
    monkeypatch.setattr("sweeper.study.card.environment", lambda: "the first machine")
    here.run(1)
    here.run(2, tracking="http://127.0.0.1:9")
    monkeypatch.setattr("sweeper.study.card.environment", lambda: "the second machine")
    here.run(3)
    found = runs(here.tracking)
    names = [found[f"trial-000{number}"].data.tags[ENVIRONMENT_TAG] for number in range(3)]
    assert names == ["the first machine", "the first machine", "the second machine"]

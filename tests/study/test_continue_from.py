"""A continuation goes on from the trial that it began with, and nothing is written into another study's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyChanged, StudyError, StudyNotFound
from sweeper.files import write_sealed
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, write_history
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study import continue_from
from sweeper.study.artifacts import TrialArtifacts
from sweeper.study.card import stored_form, study_card
from sweeper.study.continue_from import _history, fetch_start
from sweeper.study.lineage import Lineage
from sweeper.study.run import _pinned
from sweeper.study.source import SourceTrial
from tests.study.test_continuation import source
from tests.study.test_teachers import CARD as DIGITS
from tests.study.test_teachers import Source, sweep_of


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def begin(url: str, study: str) -> None:
    content = {"study": study, "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}}
    StudyStore.create_or_load(url, SweepConfig.model_validate(content)).close()


def other(trial: int) -> SourceTrial:
    found = source()
    return replace(found, row=found.row.model_copy(update={"number": trial}))


def fetch(workspace: Workspace, url: str, found: SourceTrial, study: str, *, with_optimizer: bool = False) -> None:
    fetch_start(workspace, url, found, study, with_optimizer=with_optimizer, tracking_uri=None)


def test_nothing_is_brought_into_the_folder_of_a_study_that_starts_afresh(workspace: Workspace, url: str) -> None:
    begin(url, "other")
    with pytest.raises(StudyChanged, match=r"there is a study other, .*--set study=NAME"):
        fetch(workspace, url, source(), "other")
    assert not workspace.study("other").start.path.exists()


def test_a_continuation_that_has_begun_keeps_its_source(workspace: Workspace, url: str) -> None:
    begin(url, "more")
    told = Lineage(
        study="tiny", trial=3, run_id="r", experiment="1", weights_epoch=2, epochs=5, with_optimizer=False
    ).model_dump_json()
    write_sealed(workspace.study("more").start.source, told)
    fetch(workspace, url, source(), "more")  # which is there
    with pytest.raises(
        StudyChanged, match=r"more goes on from tiny/3, not from tiny/4: continue it with --from tiny/3"
    ):
        fetch(workspace, url, other(4), "more")
    with pytest.raises(StudyChanged, match="began without the optimizer's state of its source; remove"):
        fetch(workspace, url, source(), "more", with_optimizer=True)


def test_what_a_continuation_went_on_from_is_fetched_again_where_it_is_lost(workspace: Workspace, url: str) -> None:
    """As `sweeper doctor` says where the file that names it was damaged; here its study is not there any more."""
    weights = str(workspace.study("more").start.weights)
    content = {"study": "more", "dataset": {"builtin": "digits"}, "search": {"backbone": "r", "pretrained": weights}}
    StudyStore.create_or_load(url, SweepConfig.model_validate(content)).close()
    with pytest.raises(StudyNotFound, match="tiny"):
        fetch(workspace, url, source(), "more")


def test_a_history_comes_from_the_folder_while_not_all_of_it_is_in_mlflow(workspace: Workspace) -> None:
    own = workspace.study("tiny")
    epochs = [EpochMetrics(epoch=epoch, values={"val/loss": 1.0}, timestamp_ms=epoch) for epoch in range(1, 6)]
    assert _history(own, source(), epochs[:2]) == epochs[:2]  # the rest is lost
    own.trial(3).path.mkdir(parents=True)
    with pytest.raises(StudyError, match=r"MLflow has 2 of the 5 epochs of tiny/3; .*sweeper sync tiny"):
        _history(own, source(), epochs[:2])
    own.start.path.mkdir(parents=True)
    write_history(own.start.history, epochs[:1])  # of the trial that it went on from itself
    write_history(own.trial(3).history, epochs[1:])
    assert _history(own, source(), epochs[:2]) == epochs
    own.trial(3).history.write_text("[")
    assert _history(own, source(), epochs) == epochs


@pytest.fixture
def big(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.mark.parametrize("ran_here", [True, False])
def test_a_continuation_of_a_taught_trial_keeps_its_teacher_whatever_has_won_since(
    big: Source, monkeypatch: pytest.MonkeyPatch, ran_here: bool
) -> None:
    workspace, space = big.workspace, sweep_of(teacher="study:big/best")
    pinned = big.pin("study:big/best")
    store = StudyStore.create_or_load(big.url, space)
    card = study_card(space, DIGITS, workspace.study("small"), "sqlite:///a.db", teachers=pinned)
    store.note(CARD, stored_form(card, workspace.root))
    if not ran_here:
        workspace.study("small").card.unlink()
    config = TrialConfig.model_validate({"backbone": "resnet10t", "teacher": "study:big/best"})
    epochs = [EpochMetrics(epoch=epoch, values={"val/loss": 1.0}, timestamp_ms=epoch) for epoch in range(1, 6)]
    mlflow = SimpleNamespace(epochs=lambda _: epochs, run=lambda _: SimpleNamespace(experiment="1"))
    monkeypatch.setattr(continue_from, "find_run", lambda *_: (mlflow, "r"))
    left = TrialArtifacts(workspace.study("big").trial(0).artifacts, "r")
    monkeypatch.setattr(continue_from, "fetch_artifacts", lambda *_: left)
    fetch(workspace, big.url, replace(source(), sweep=space, config=config), "more")
    big.end(0.95)
    assert big.pin("study:big/best")["study:big/best"].trial == 2
    more = sweep_of("more", teacher="study:big/best")
    assert _pinned(more, None, workspace.study("more"), workspace, big.url, "sqlite:///a.db").teachers == pinned
    other = sweep_of("more", teacher="study:big/2")
    assert _pinned(other, None, workspace.study("more"), workspace, big.url, "x").teachers["study:big/2"].trial == 2

"""A study without a finished trial ends everywhere with the reasons, what comes next, and an exit code."""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from sweeper.engines.protocol import Event
from sweeper.errors import ModelError
from sweeper.files import write_whole
from sweeper.modeling import hub
from sweeper.modeling.backbones import create
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from tests.field.folders import Here
from tests.functional.answer import Answer, Ask, ask

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture

SPACE = """
study: s
dataset: {path: images}
budget: {trials: 2, epochs: 2}
search: {backbone: test_resnet, image_size: 8, weight_decay: {float: [0, 1]}}
"""
NO_WINNER = 4
REASON = "2 trials, the first of them 0: the loss was NaN in step 0"


@pytest.fixture
def failed(here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask the program about a study whose two trials have failed."""
    monkeypatch.chdir(here.root)
    (here.root / "space.yaml").write_text(SPACE)
    here.run(
        2, script=here.fails, search={"backbone": "test_resnet", "image_size": 8, "weight_decay": {"float": [0, 1]}}
    )
    return ask


def require_reasons(answer: Answer) -> None:
    assert answer.code == NO_WINNER, answer
    told = " ".join(answer.err.split())
    assert f"no trial of s has finished; see sweeper status s (2 failed) {REASON} next: correct the cause" in told


def test_a_run_in_which_every_trial_failed_says_why_and_recommends_no_export(failed: Ask) -> None:
    answer = failed("run", "space.yaml")
    require_reasons(answer)
    assert "--export" not in answer.out + answer.err
    assert "rank" not in answer.out  # no table without a row


@pytest.mark.parametrize(
    "arguments",
    [
        ["best", "s"],
        ["best", "s", "--export"],
        ["confirm", "s"],
        ["train", "--from", "s/best"],
        ["evaluate", "s"],
        ["register", "s"],
        ["predict", "s", "images"],
        ["diff", "s/0", "s"],
        ["data", "label-errors", "s"],
        ["run", "space.yaml", "--set", "study=t", "--warm-start-from", "s"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_every_command_that_needs_a_winner_says_why_there_is_none(failed: Ask, arguments: list[str]) -> None:
    require_reasons(failed(*arguments))


@pytest.mark.parametrize("arguments", [["train", "--from", "s/0"], ["reproduce", "s/0"]], ids=" ".join)
def test_a_trial_without_an_epoch_cannot_be_continued(failed: Ask, arguments: list[str]) -> None:
    answer = failed(*arguments)
    assert answer.code == NO_WINNER
    assert (
        "trial 0 of s is failed and has no weights" in answer.err or "has no metrics that could come out" in answer.err
    )


def test_a_trial_without_an_epoch_is_not_compared(failed: Ask) -> None:
    answer = failed("diff", "s/0", "s/1")
    assert answer.code == NO_WINNER
    assert "s/0 has finished no epoch and cannot be compared; why: sweeper status s" in answer.err


def test_status_and_the_report_say_it_too(failed: Ask, here: Here) -> None:
    status = failed("status", "s")
    assert status.code == 0
    assert REASON in " ".join(status.err.split())
    report = failed("report", "s")
    assert report.code == 0
    assert REASON in (here.root / "reports" / "s.html").read_text()


def test_the_reasons_are_reported_by_kind_the_most_frequent_first(
    here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.root)
    reasons = ["out of luck", "bad batch of 3", "bad batch of 4", "x", "y"]

    def fails(spec: TrialSpec) -> Iterator[Event]:
        yield here.ended(spec, TrialOutcome(state=TrialState.FAILED, reason=reasons[spec.number], timestamp_ms=9))

    here.run(5, script=fails)
    lines = ask("best", "s").err.splitlines()
    assert lines[1:-1] == [
        "  2 trials, the first of them 1: bad batch of 3",
        "  trial 0: out of luck",
        "  trial 3: x",
        "  and 1 other reasons",
    ]


@pytest.mark.parametrize(
    ("outcome", "step"),
    [
        (TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.1), "raise budget.trials"),
        (TrialOutcome(state=TrialState.PRUNED, feasible=False, reason="did not fit"), "take a smaller backbone"),
        (TrialOutcome(state=TrialState.FAILED, reason="broken"), "correct the cause and run it with --retry-failed"),
    ],
)
def test_what_to_do_next_follows_from_how_the_trials_ended(
    here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch, outcome: TrialOutcome, step: str
) -> None:
    monkeypatch.chdir(here.root)
    here.run(1, script=lambda spec: iter([here.ended(spec, outcome)]))
    assert f"next: {step}" in ask("best", "s").err


def test_a_study_that_has_not_begun_is_named_as_such(here: Here, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.root)
    here.run(1, budget={"trials": 1, "epochs": 2, "timeout": 0.0001})
    answer = ask("best", "s")
    assert answer.code == NO_WINNER
    assert "no trial of s has finished; see sweeper status s" in answer.err


@pytest.mark.parametrize(
    "error",
    [ConnectionError(), TimeoutError(), socket.gaierror(), urllib.error.URLError("no route")],
    ids=lambda error: type(error).__name__,
)
def test_a_hub_out_of_reach_is_distinguished_from_a_network_that_cannot_be_built(error: Exception) -> None:
    raised = RuntimeError("cannot download")
    raised.__cause__ = error
    assert hub.is_out_of_reach(raised)
    assert not hub.is_out_of_reach(RuntimeError("no such layer"))


def test_pretrained_weights_without_a_network_name_a_file_the_cache_and_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_offline(*_: object, **__: object) -> nn.Module:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(timm, "create_model", is_offline)
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", tmp_path)
    with pytest.raises(
        ModelError, match=r"weights of test_resnet are not on this machine .*; the cache holds no weights"
    ):
        create("test_resnet", True, {}, image_size=32)
    commit = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / ("0" * 40)
    write_whole(commit / "model.safetensors", b"weights")
    told = r"Set search.pretrained to a file .*, or fill the hub's cache .*; the cache holds those of resnet18.a1_in1k"
    with pytest.raises(ModelError, match=told):
        create("test_resnet", True, {}, image_size=32)

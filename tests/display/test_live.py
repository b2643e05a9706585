"""The view of a running sweep in a terminal: whole at any width, and its best and latest trials in it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from sweeper.config.sweep import BudgetConfig, SweepConfig
from sweeper.display.live import LiveTable
from sweeper.display.plain import PlainLines
from sweeper.display.tables import ranked_table
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.study.opening import Opening

SWEEP = SweepConfig.model_validate(
    {
        "study": "mushrooms",
        "dataset": {"path": "x"},
        "budget": {"trials": 4, "epochs": 3},
        "search": {"backbone": {"choice": ["resnet18", "resnet34"]}},
    }
)


def spec_of(number: int) -> TrialSpec:
    config = {"backbone": "resnet34" if number else "resnet18", "weight_decay": number / 7}
    return TrialSpec.model_validate({"number": number, "seed": 0, "epochs": 3, "config": config})


def screen(width: int) -> list[str]:
    """Return what is shown after a trial has failed, one has finished and one runs."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    table = LiveTable(console)
    table.study_opened(SWEEP, [], 4)
    failed = TrialOutcome(state=TrialState.FAILED, epochs=0, reason="no such device")
    finished = TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=3, best_value=0.75, seconds=61.0)
    for number, outcome in ((0, failed), (1, finished), (2, None)):
        table.trial_started(spec_of(number))
        for epoch in range(1, 4) if number else []:
            table.epoch_finished(number, EpochMetrics.model_validate(metrics(epoch)))
        if outcome is not None:
            table.trial_ended(number, outcome)
    console.print(table._render())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def metrics(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "timestamp_ms": epoch,
        "values": {"val/accuracy": epoch / 4, "train/loss": 1.0, "images_per_s": 500.0},
    }


def line_of(lines: list[str], number: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[:1] == [number])


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_columns_that_matter_are_whole_at_any_width(width: int) -> None:
    lines = screen(width)
    assert max(map(len, lines)) <= width
    assert "2/4 trials" in lines[0]
    assert "best 0.7500" in lines[0]
    assert "val/accuracy, maximized; 1 at work, 500 images/s" in [line.strip() for line in lines]
    assert line_of(lines, "*1")[:7] == ["*1", "3/3", "0.7500", "▁▅█", "complete", "1m01s", "resnet34"]
    assert line_of(lines, "2")[:5] == ["2", "3/3", "0.7500", "▁▅█", "running"]
    assert line_of(lines, "0")[:5] == ["0", "0/3", "-", "failed", "0.0s"]
    assert any("no such dev" in line for line in lines)


def test_an_epoch_that_is_reported_again_has_one_line_and_one_trained_again_another() -> None:
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console)
    lines.study_opened(SWEEP, [], 4)

    def report(epoch: int, timestamp_ms: int) -> None:
        found = metrics(epoch)
        values = {**found["values"], "time/epoch_s": 1.0}
        lines.epoch_finished(1, EpochMetrics(epoch=epoch, timestamp_ms=timestamp_ms, values=values))

    lines.trial_started(spec_of(1))
    report(1, 5)
    lines.trial_paused(1, TrialOutcome(state=TrialState.PAUSED, epochs=1, best_epoch=1, best_value=0.25))
    lines.trial_started(spec_of(1))
    report(1, 5)
    report(2, 9)
    report(2, 12)  # its checkpoint was lost
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert [said.count(f"trial 1 epoch {epoch}/3") for epoch in (1, 2)] == [1, 2]
    assert "trial 1 goes on" in said


def test_a_paused_trial_that_ends_without_going_on_is_shown() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    table = LiveTable(console)
    table.study_opened(SWEEP, [], 4)
    table.trial_started(spec_of(0))
    table.epoch_finished(0, EpochMetrics.model_validate(metrics(1)))
    paused = TrialOutcome(state=TrialState.PAUSED, epochs=1, best_epoch=1, best_value=0.25)
    table.trial_paused(0, paused)
    table.trial_ended(0, paused.model_copy(update={"state": TrialState.PRUNED}))
    console.print(table._render())
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line_of(shown, "0")[:4] == ["0", "1/1", "0.2500", "pruned"]


def drawn(table: LiveTable, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table._render())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_the_time_of_a_trial_that_goes_on_counts_from_what_it_had_and_not_from_its_pause() -> None:
    table = LiveTable(Console(file=io.StringIO()))
    table.study_opened(SWEEP, [], 4)
    table.trial_started(spec_of(0))
    table.trial_paused(0, TrialOutcome(state=TrialState.PAUSED, epochs=1, best_value=0.25, seconds=3600.0))
    table.trial_started(spec_of(0))
    assert line_of(drawn(table), "0")[4] == "1h00m"


def test_what_pruning_saves_counts_for_paused_trials_and_not_for_those_cut_short() -> None:
    table = LiveTable(Console(file=io.StringIO()))
    table.study_opened(SWEEP, [], 4)
    one = TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.25, seconds=60.0)
    for number, ends in enumerate((one, one.model_copy(update={"cut": True}), one)):
        table.trial_started(spec_of(number))
        table.epoch_finished(number, EpochMetrics.model_validate(metrics(1)))
        if number == 2:
            table.trial_paused(number, one.model_copy(update={"state": TrialState.PAUSED}))
        table.trial_ended(number, ends)
    assert drawn(table)[1].strip() == "val/accuracy, maximized; 0 at work; pruning saved 4m00s"


def test_a_trial_whose_worker_died_has_no_rate_until_it_goes_on() -> None:
    table = LiveTable(Console(file=io.StringIO()))
    table.study_opened(SWEEP, [], 4)
    table.trial_started(spec_of(0))
    table.epoch_finished(0, EpochMetrics.model_validate(metrics(1)))
    assert "1 at work, 500 images/s" in drawn(table)[1]
    table.worker_died(0, "killed")
    assert "0 at work" in drawn(table)[1]
    assert "images/s" not in drawn(table)[1]


def test_the_first_of_several_equally_good_trials_keeps_the_lead() -> None:
    table = LiveTable(Console(file=io.StringIO()))
    table.study_opened(SWEEP, [], 4)
    for number, value in enumerate((0.5, 0.75, 0.75)):
        table.trial_started(spec_of(number))
        outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=3, best_value=value)
        table.trial_ended(number, outcome)
    assert [line.split()[0] for line in drawn(table) if "*" in line] == ["*1"]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_with_a_deadline_the_time_until_then_is_shown(width: int) -> None:
    timed = SWEEP.model_copy(update={"budget": BudgetConfig.model_validate({"for": "10m"})})
    table = LiveTable(Console(file=io.StringIO(), width=width))
    table.opening(Opening((), (), left_s=lambda: 90.0))
    table.study_opened(timed, [], timed.budget.trials)
    headline = drawn(table, width)[0]
    assert "0 trials" in headline
    assert "1m30s to the deadline" in headline


@pytest.mark.parametrize(("left_s", "told"), [(90.0, "best 0.7500, 1m30s to the deadline"), (None, "10m00s left")])
def test_in_a_pipe_each_ended_trial_says_how_much_time_is_left(left_s: float | None, told: str) -> None:
    lines = PlainLines(Console(file=io.StringIO(), width=200))
    lines.opening(Opening((), (), left_s=None if left_s is None else lambda: left_s))
    lines.study_opened(SWEEP, [], 4)
    lines.trial_started(spec_of(0))
    outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=3, best_value=0.75, seconds=200.0)
    lines.trial_ended(0, outcome)
    assert told in lines._console.file.getvalue()  # type: ignore[attr-defined]


def test_in_a_terminal_each_ranked_trial_has_one_line() -> None:
    outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=3, best_value=0.75, seconds=61.0)
    rows = []
    for number in range(3):
        config = spec_of(number).config.model_dump_json()
        about: dict[str, Any] = {"value": 0.5 + number / 9, "best_epoch": 3, "epochs": 3, "seconds": 1.0, "ended_ms": 1}
        known: dict[str, Any] = {"params": {}, "config_json": config, "reason": None, "outcome": outcome}
        rows.append(TrialRow(number=number, state=TrialState.COMPLETE, **about, **known))
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(ranked_table(rows, SWEEP, brief=True))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]
    assert len(lines) == 2 + len(rows)
    assert lines[2].split()[:6] == ["1", "2", "0.7222", "3/3", "1.0s", "complete"]
    assert lines[2].endswith("…")

"""The view of `sweeper watch`: what gets a line, and that it fits into any terminal."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import BudgetConfig, SweepConfig
from sweeper.display.settings import in_brief, in_full
from sweeper.display.trial_lines import BLOCKS, CURVE, sparkline
from sweeper.display.watch import shown, watch_view
from sweeper.display.work import Work, rate_of, work_line
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialState
from sweeper.standings.saving import saved_seconds

SWEEP = SweepConfig.model_validate(
    {
        "study": "mushrooms",
        "dataset": {"path": "x"},
        "budget": {"trials": 40, "epochs": 15},
        "search": {"backbone": "resnet18", "weight_decay": {"float": [0, 1]}},
    }
)


def row_of(number: int, state: TrialState, value: float | None = 0.5, **others: Any) -> TrialRow:
    config = {
        "backbone": "resnet18",
        "weight_decay": number / 100,
        "optimizer": {"name": "adamw", "lr": 0.01 / (number + 1)},
    }
    known: dict[str, Any] = {
        "number": number,
        "state": state,
        "value": value,
        "best_epoch": 3,
        "epochs": 7,
        "seconds": 3723.0,
        "ended_ms": 1 if state.ended else None,
        "params": {},
        "config_json": json.dumps(config),
        "reason": None,
        "outcome": None,
    }
    return TrialRow(**(known | others))


ROWS = [
    *(row_of(number, TrialState.COMPLETE, 0.3 + number / 100) for number in range(20)),
    row_of(20, TrialState.PRUNED, 0.1, outcome=TrialOutcome(state=TrialState.PRUNED, epochs=7, seconds=3723.0)),
    row_of(21, TrialState.RUNNING, 0.2),
    row_of(22, TrialState.RUNNING, None),
    row_of(23, TrialState.WAITING, None),
]
CURVES = {row.number: {epoch: 0.1 + epoch / 30 for epoch in range(1, 8)} for row in ROWS if row.value}

WORK = Work(images_per_s=1234.4, saved_s=saved_seconds(ROWS, 15))


def printed(width: int, *, running: bool = True, rows: list[TrialRow] = ROWS, work: Work = WORK) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(
        watch_view(rows, shown(rows, SWEEP, 12), CURVES, SWEEP, 40, running=running, finished=False, work=work)
    )
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_columns_that_matter_are_whole_at_any_width(width: int) -> None:
    lines = printed(width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "21/40 trials" in text
    assert "best 0.4900" in text
    assert "2 at work, 1,234 images/s; pruning saved 1h10m" in " ".join(text.split())  # 8 epochs of 532 s
    leader = next(line for line in lines if "*19" in line)
    assert "7/15" in leader
    assert "0.4900" in leader
    assert "complete" in leader
    assert "1h02m" in leader
    assert set(leader) & set(BLOCKS)
    assert "weight_decay=0.19" in leader or "…" in leader


def test_no_trial_leads_before_one_is_complete() -> None:
    assert not any("*" in line for line in printed(100, rows=ROWS[20:]))


def test_how_busy_the_gpus_are_is_told_in_one_fact() -> None:
    def told(*busy: float) -> str:
        return work_line(SWEEP.objective, "1 at work", Work(gpus_busy=busy))

    assert told() == "val/accuracy, maximized; 1 at work"
    assert told(93.0).endswith("1 at work; 1 GPU 93% busy")
    assert told(93.0, 61.0, 98.0).endswith("; 3 GPUs 84% busy on average, the least busy 61%")


def test_trials_that_are_trained_together_each_have_a_part_of_the_rate() -> None:
    epoch = {"epoch": 1, "timestamp_ms": 1, "values": {"images_per_s": 1200.0}}
    assert rate_of(EpochMetrics.model_validate(epoch)) == 1200.0
    assert rate_of(EpochMetrics.model_validate({**epoch, "at_once": 4})) == 300.0


def test_settings_are_short_where_that_is_clear() -> None:
    config = TrialConfig.model_validate({"backbone": "resnet18", "optimizer": {"name": "adamw", "lr": 0.012}})
    names = ["backbone", "optimizer.name", "optimizer.lr", "batch_size", "teacher.name", "optimizer.momentum"]
    assert in_brief(config, names) == f"resnet18 adamw lr=0.012 batch_size={config.batch_size} teacher.name=none"
    assert in_brief(config, ["optimizer.lr", "augment.lr"]) == "optimizer.lr=0.012"
    assert in_full(config, names[:3]) == "backbone=resnet18 optimizer.name=adamw optimizer.lr=0.012"
    assert in_full(None, names) == in_brief(None, names) == ""


def test_trials_that_run_and_the_best_get_a_line_before_the_latest() -> None:
    numbers = [row.number for row in shown(ROWS, SWEEP, 12)]
    assert numbers == sorted(numbers)
    assert {21, 22, 19, 18, 17, 16, 15, 20} <= set(numbers)
    assert len(numbers) == 12
    assert {row.number for row in shown(ROWS, SWEEP, 3)} == {21, 22, 19}


def test_a_study_that_does_not_run_says_how_to_go_on() -> None:
    text = "\n".join(printed(100, running=False))
    assert "not running: `sweeper run` goes on" in text
    assert " left" not in text


def test_a_study_whose_trials_have_all_ended_is_finished() -> None:
    rows = [row for row in ROWS if row.state.ended]
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(watch_view(rows, rows[:1], {}, SWEEP, len(rows), running=False, finished=True, work=WORK))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "finished: all trials have ended, or the time is used up" in text
    assert "goes on" not in text


def test_with_a_deadline_the_time_until_then_is_shown() -> None:
    timed = SWEEP.model_copy(update={"budget": BudgetConfig.model_validate({"for": "10m"})})
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(
        watch_view(
            ROWS, ROWS[:1], CURVES, timed, timed.budget.trials, running=True, finished=False, work=WORK, deadline_s=90.0
        )
    )
    assert "21 trials  best 0.4900  1m30s to the deadline" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_study_without_trials_is_shown_too() -> None:
    assert "0/40 trials" in "\n".join(printed(80, rows=[]))


@given(
    st.dictionaries(st.integers(1, 500), st.floats(allow_nan=True, allow_infinity=True), max_size=80),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_any_curve_is_drawn_in_its_width(curve: dict[int, float], low: float, high: float) -> None:
    finite = [value for value in curve.values() if math.isfinite(value)]
    drawn = sparkline(curve, min([low, *finite]), max([high, *finite]))
    assert len(drawn) == min(CURVE, len(finite))
    assert set(drawn) <= set(BLOCKS)


def test_a_rising_curve_rises() -> None:
    drawn = sparkline({epoch: epoch / 24 for epoch in range(25)}, 0, 1)
    assert list(drawn) == sorted(drawn)
    assert drawn[-1] == BLOCKS[-1]

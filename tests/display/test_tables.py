"""Tables in terminals of any width: what a row is about stays readable."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sweeper.display.answers import StudyAnswer, TrialAnswer
from sweeper.display.tables import params_table, studies_table
from sweeper.results import TrialState
from tests.display.test_watch import SWEEP, row_of

LONG = "a-study-with-a-very-long-name-of-its-own_2026.11-and_more"


def settings_shown(*numbers: int) -> list[str]:
    """Return what is shown of the settings of the first of these trials, a line each, in pairs of words."""
    rows = [row_of(number, TrialState.COMPLETE) for number in numbers]
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(params_table(rows[0], rows))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]


def lines_of(study: str, width: int, ended: int = 17) -> list[str]:
    row = row_of(12, TrialState.COMPLETE, 0.8123)
    found = StudyAnswer.of("unfinished", SWEEP, ended, 40, row).model_copy(update={"study": study})
    assert isinstance(found.best, TrialAnswer)
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(studies_table([found]))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize("study", ["mushrooms", LONG])
def test_the_name_of_a_study_is_whole_in_any_terminal(study: str, width: int) -> None:
    lines = lines_of(study, width)
    assert max(map(len, lines)) <= width
    rule = next(place for place, line in enumerate(lines) if "──" in line)
    rows = [line for line in lines[rule + 1 :] if line.strip()]
    assert "".join(line[2:].split(" ")[0] for line in rows) == study
    assert "17/40" in rows[0]
    assert "0.8123" in rows[0]


def test_more_trials_than_planned_are_no_portion() -> None:
    text = "\n".join(lines_of("mushrooms", 80, ended=41))
    assert "41" in text
    assert "41/40" not in text


def test_settings_in_which_trials_differ_come_first() -> None:
    lines = settings_shown(1, 2)
    assert lines[:4] == ["the trials differ in", "optimizer.lr 0.005", "weight_decay 0.01", "and are equal in"]
    assert lines[4] == "backbone resnet18"
    assert "optimizer.name adamw" in lines[5:]


def test_settings_of_an_only_trial_are_shown_in_the_order_of_the_file() -> None:
    lines = settings_shown(1)
    assert lines[0] == "backbone resnet18"
    assert "weight_decay 0.01" in lines
    assert not any("differ" in line or "equal" in line for line in lines)

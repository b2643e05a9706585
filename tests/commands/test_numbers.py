"""Options that take a number take no infinity, and nothing that is no number."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.commands.init import _hours

OPTIONS = [("report", "s", "--hourly-price"), ("reproduce", "s/1", "--tolerance")]


@pytest.mark.parametrize("value", ["inf", "nan"])
@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_what_is_no_number_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, value])
    assert done.exit_code == 2, done.output
    told = " ".join(done.output.replace("│", " ").split())
    assert ("neither infinity nor nan" if value == "inf" else "should be greater than or equal to 0") in told


@pytest.mark.parametrize("answer", ["nan", "inf", "-1", "0s"])
def test_hours_that_are_asked_for_have_the_bounds_of_the_option(answer: str) -> None:
    with pytest.raises(ValueError, match=r"should be from 0.01 to 10,000 hours, got "):
        _hours(answer)
    assert (_hours("45m"), _hours("2")) == (0.75, 2.0)

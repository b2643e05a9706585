"""What is said when a run ends."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import typer

from sweeper.commands.leaving import TOLD_TO_LEAVE
from sweeper.commands.running import _say_what_next
from sweeper.config.sweep import SweepConfig
from sweeper.errors import TrackingRefused
from sweeper.results import TrialRow
from sweeper.study.result import SweepResult

ADDRESS = "postgresql+psycopg://ada:s3cret@db/optuna"
WHY = "MLflow at https://host: [Errno 111] Connection refused"
SWEEP = SweepConfig.model_validate(
    {"study": "s", "dataset": {"path": "images"}, "search": {"backbone": "r", "image_size": 8}}
)
ENDED = {"number": 0, "state": "complete", "value": 0.5, "best_epoch": 1, "epochs": 1, "params": {}, "ended_ms": 1}
ROWS = [TrialRow.model_validate({**ENDED, "seconds": 1.0, "config_json": None, "reason": None})]


def result(undelivered: int = 0, refused: str | None = None, *, told_to_leave: bool = False) -> SweepResult:
    trouble = refused or (WHY if undelivered else None)
    return SweepResult(ROWS, told_to_leave, None, undelivered, None, refused, trouble, told_to_leave=told_to_leave)


def test_what_is_not_delivered_is_told_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    _say_what_next(result(2), SWEEP, "https://host", None)
    said = capsys.readouterr().out
    assert "2 runs are not in MLflow yet: sweeper sync s\n" in said
    assert f"they wait on disk: {WHY}\n" in said


def test_a_sweep_that_is_told_to_leave_tells_of_a_refusal_too_and_ends_with_its_own_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(typer.Exit) as left:
            _say_what_next(result(2, "no rights", told_to_leave=True), SWEEP, "https://host", None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # which is sent again while the program ends
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.exit_code == TOLD_TO_LEAVE == 75
    said = capsys.readouterr().out
    assert "they wait on disk: no rights\n" in said
    assert "stopped by SIGTERM; run the same command again to continue" in said


def test_a_refusal_is_an_error_at_the_end_of_a_sweep() -> None:
    with pytest.raises(TrackingRefused, match="2 runs are not in MLflow and stay on disk until"):
        _say_what_next(result(2, "no rights"), SWEEP, "https://host", None)


def test_the_next_commands_name_the_storage_only_where_the_environment_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTUNA_STORAGE", ADDRESS)
    _say_what_next(result(), SWEEP, "https://host", ADDRESS)
    assert "--storage" not in capsys.readouterr().out
    monkeypatch.delenv("OPTUNA_STORAGE")
    _say_what_next(result(), SWEEP, "https://host", ADDRESS)
    said = capsys.readouterr().out
    assert "--storage 'postgresql+psycopg://***@db/optuna'" in said
    assert "s3cret" not in said

"""The ranking of backbones before a search, as commands and programs show it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from sweeper.commands.ranking import with_best_backbones
from sweeper.commands.running import run_and_tell
from sweeper.config.notify import NotifyConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import NoWinner, StudyNotFound
from sweeper.library.run import run
from sweeper.paths import Workspace
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from sweeper.study.runner import Runner
from tests.report import studies
from tests.report.studies import write_images, write_study
from tests.report.test_backbones import SPACE
from tests.study.test_backbone_ranking import judged, possible, sweep_of

STOPPED = SweepResult([judged(0, "resnet18", 0.5)], False, ASKED_TO_STOP, undelivered=0, experiment=None)


def test_a_ranking_that_is_asked_to_stop_begins_no_search_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program = f"import sys; open({str(tmp_path / 'told')!r}, 'a').write(sys.stdin.read())"
    notify = NotifyConfig(command=shlex.join([sys.executable, "-c", program]))
    sweep = sweep_of().model_copy(update={"notify": notify})
    with pytest.raises(typer.Exit) as left:
        with_best_backbones(sweep, f"sqlite:///{tmp_path / 'optuna.db'}", lambda *_, **__: STOPPED, possible)
    assert left.value.exit_code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "searching the best" not in said
    assert f"stopped: {ASKED_TO_STOP}; none is chosen yet; run the same command again to continue the ranking" in said
    notice = json.loads((tmp_path / "told").read_text())
    assert (notice["study"], notice["state"], notice["reason"]) == ("birds-backbones", "stopped", ASKED_TO_STOP)


def test_a_program_is_told_that_its_ranking_was_asked_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Runner, "run", lambda *_, **__: STOPPED)
    space = sweep_of().model_dump(mode="json", by_alias=True)
    with pytest.raises(NoWinner, match="ranking of the backbones of birds was stopped; the same call continues it"):
        run(space)


@pytest.mark.sweeps
def test_a_warm_start_is_told_once_and_of_what_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = write_images(tmp_path / "images", ["a", "b"], 2)
    write_study(Workspace(tmp_path), studies.sweep_of("earlier"), paths, ["a", "b"], 6)
    sweep = SweepConfig.model_validate({**SPACE, "backbone_ranking": {"keep": 1, "epochs": 2}})
    options: dict[str, Any] = {"workers": None, "storage": None, "tracking_uri": None, "with_report": False}
    run_and_tell(sweep, **options, warm_start_from="earlier")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("warm start: if s is new") == 1
    assert said.index("searching the best of the ranking") < said.index("warm start: if s is new")
    begins = sweep.model_copy(update={"study": "later"})
    with pytest.raises(StudyNotFound, match="gone"):
        run_and_tell(begins, **options, warm_start_from="gone")
    assert "are ranked" not in capsys.readouterr().out

"""Event files: read back they hold what was recorded, once, whatever was cut off or sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from sweeper.tracking.tensorboard import EventFiles, event_files, read_events, records
from tests.training.learnable import spec_of

pytest.importorskip("tensorboardX")

ENDED = TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=2, best_metrics={"val/loss": 0.5}, timestamp_ms=9)


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(epoch=number, values={"val/loss": 1 / number, "lr": 0.1}, timestamp_ms=number * 1000)


def scalars(folder: Path) -> list[tuple[str, int, float, float]]:
    """Return tag, step, value and second of every scalar in the files of a trial."""
    return [
        (value.tag, event.step, value.simple_value, event.wall_time)
        for event in read_events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def record_trial(folder: Path, epochs: int = 3, ended: bool = True) -> None:
    """Write what one driver would of trial 0, from its beginning."""
    events = EventFiles(folder, "best/val/loss", {"batch_size", "head.hidden"})
    events.trial_started(spec_of())
    for number in range(1, epochs + 1):
        events.epoch_finished(0, epoch(number))
    if ended:
        events.trial_ended(0, ENDED)
    events.close()


def test_a_trial_reads_back_as_it_was_recorded(tmp_path: Path) -> None:
    record_trial(tmp_path)
    trial = tmp_path / "trial-0000"
    assert [row[:2] for row in scalars(trial)] == [
        *((tag, step) for step in (1, 2, 3) for tag in ("val/loss", "lr")),
        ("best/val/loss", 2),
    ]
    assert scalars(trial)[2] == ("val/loss", 2, 0.5, 2.0)
    tags = [value.tag for event in read_events(trial) for value in event.summary.value]
    assert tags[0] == "_hparams_/experiment"
    assert "_hparams_/session_end_info" in tags
    shown = next(value.metadata.plugin_data.content for event in read_events(trial) for value in event.summary.value)
    assert b"batch_size" in shown
    assert b"head.hidden" in shown
    assert b"weight_decay" not in shown  # in which trials do not differ


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_trial_cut_off_at_any_byte_and_continued_has_every_step_once(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    record_trial(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        record_trial(broken, data.draw(st.integers(0, 3)), ended=data.draw(st.booleans()))
        latest = max((broken / "trial-0000").iterdir(), key=lambda path: int(path.suffix[1:]))
        content = latest.read_bytes()
        latest.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    record_trial(broken)
    assert sorted(scalars(broken / "trial-0000")) == sorted(scalars(whole / "trial-0000"))


def test_a_record_with_a_changed_byte_ends_the_reading(tmp_path: Path) -> None:
    record_trial(tmp_path)
    (file,) = (tmp_path / "trial-0000").iterdir()
    content = bytearray(file.read_bytes())
    before = len(list(records(bytes(content))))
    content[-8] ^= 1
    assert len(list(records(bytes(content)))) == before - 1


def test_event_files_are_written_only_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}}
    silent, asking = (SweepConfig.model_validate({**content, "tracking": {"tensorboard": on}}) for on in (False, True))
    assert silent.fingerprint() == asking.fingerprint()
    assert event_files(silent, Workspace(tmp_path)) is None
    assert event_files(asking, Workspace(tmp_path)) is not None
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match=r"tracking.tensorboard: .*pip install .* '\.\[tensorboard\]'"):
        event_files(asking, Workspace(tmp_path))

"""A trial for which memory runs out where no batch can be cut: it gets what was kept for others, or keeps its best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.engines.worker import Worker
from sweeper.results import TrialState
from sweeper.training import epoch_soup, memory
from tests.training.learnable import colored, comparable, run, spec_of
from tests.training.test_epoch_soup import NOISY, noisy

STEPS = 4
"""In an epoch."""


class Killed(Exception):
    """Stands for a process that dies at this point."""


def test_a_trial_begins_anew_once_what_was_kept_for_later_ones_is_dropped_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the third epoch, outside the part of a step that can be cut."""

    class Kept:
        dropped = 0

        def drop(self) -> bool:
            self.dropped += 1
            return self.dropped == 1

    kept, refused, step = Kept(), [True], torch.optim.Adam.step
    monkeypatch.setattr(memory, "_spare", [])
    memory.drop_when_short(kept.drop)

    def full(self: Any, *args: Any, **options: Any) -> Any:
        if refused and any(int(state["step"]) == 2 * STEPS for state in self.state.values()):
            refused.clear()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, *args, **options)

    _, plain = run(spec_of(epochs=4), tmp_path / "plain", colored(train=16 * STEPS))
    monkeypatch.setattr(torch.optim.Adam, "step", full)
    outcome, seen = run(spec_of(epochs=4), tmp_path / "short", colored(train=16 * STEPS))
    assert not refused
    assert kept.dropped == 1
    assert outcome.state is TrialState.COMPLETE
    assert comparable(seen) == comparable(plain), "each epoch once"


def test_a_trial_for_which_no_room_can_be_made_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.Adam, "step", full)
    outcome, _ = run(spec_of(), tmp_path)
    assert (outcome.state, outcome.feasible) == (TrialState.PRUNED, False)


def test_epochs_are_not_averaged_again_after_a_worker_was_killed_for_memory_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(epoch_soup, "_read_states", killed)
        with pytest.raises(Killed):
            run(spec_of(epochs=4, **NOISY), tmp_path, noisy())
    again = spec_of(epochs=4, **NOISY).model_copy(update={"memory_kills": 1})
    outcome, _ = run(again, tmp_path, noisy())
    assert (outcome.state, outcome.averaged_epochs) == (TrialState.COMPLETE, ())
    assert "a worker was killed for memory after the last epoch" in caplog.text


def test_a_trial_whose_worker_was_killed_for_memory_is_trained_alone() -> None:
    """The others of its stack may have taken the memory."""
    worker = Worker.__new__(Worker)
    assert worker._stack_key(spec_of(trainable="head").model_copy(update={"memory_kills": 1})) is None

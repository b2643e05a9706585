"""The part of a ledger whose trials are all trained to their end: nothing prunes, pauses, cuts or adds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sweeper.errors import StudyError
from sweeper.results import Cut, TrialOutcome, TrialSpec


class Unsteered:
    """What the driver asks of a ledger (`study.ledger`) beyond what runs next and how it ended: here it is nothing."""

    @property
    def seconds_used(self) -> float:
        return 0.0  # nothing limits the time of a confirmation

    def add_seconds_used(self, seconds: float) -> None: ...

    def requeue_interrupted(self) -> list[int]:
        return []  # what has no outcome is queued

    def has_interrupted(self) -> bool:
        return False  # nor is it known what of that had begun

    def last_epoch(self, number: int) -> int:  # noqa: ARG002
        return 0  # only its folder knows

    def report(self, number: int, epoch: int, value: float, learning_rate: float | None = None) -> bool:  # noqa: ARG002
        """A repetition is never pruned: its epochs stand in its own folder."""
        return False

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def pause(self, number: int, outcome: TrialOutcome) -> None:  # noqa: ARG002
        raise ValueError("repetitions never pause")

    def paused_to_finish(self) -> int | None:
        return None

    def go_on(self, number: int) -> TrialSpec:  # noqa: ARG002
        raise ValueError("repetitions never pause")

    def end_paused(
        self,
        which: Callable[[int], bool],  # noqa: ARG002
        why: str | None = None,  # noqa: ARG002
    ) -> list[tuple[int, TrialOutcome]]:
        return []

    def cut(self, number: int, epoch: int, cut: Cut) -> None:  # noqa: ARG002
        raise ValueError("repetitions are never cut short")

    def skip(self, number: int) -> None:  # noqa: ARG002
        raise StudyError("repetitions are trained to their end")

    def to_skip(self, number: int) -> bool:  # noqa: ARG002
        return False

    def cut_of(self, number: int) -> Cut | None:  # noqa: ARG002
        return None

    def plan_epochs(self, epochs: int) -> None:  # noqa: ARG002
        raise ValueError("repetitions have the epochs of the search")

    def enqueue(self, configurations: Mapping[str, Mapping[str, Any]]) -> list[str]:  # noqa: ARG002
        return []

    def is_queued(self, name: str, configuration: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return False

    def set_trials(self, trials: int) -> None:  # noqa: ARG002
        raise ValueError("the leaders and the seeds say how many repetitions there are")

    def close(self) -> None: ...

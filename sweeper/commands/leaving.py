"""How the program ends when it is told to, and the exit codes by which who told it knows."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from sweeper.study.result import SweepResult

INTERRUPTED = 130
TOLD_TO_LEAVE = 75
"""After SIGTERM: EX_TEMPFAIL, which means to try again later, and by which a scheduler knows to do so."""


class ToldToLeave(SystemExit):
    """SIGTERM has come, and no sweep is running that would end in its own way."""


def heed_sigterm() -> None:
    """Let SIGTERM end the program as an error does, so that locks are let go and files are whole."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(_received: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise ToldToLeave(TOLD_TO_LEAVE)


def leave(result: SweepResult) -> NoReturn:
    """End the program after a sweep that was interrupted, by the exit code that says how."""
    if result.told_to_leave:  # schedulers repeat it, and Python would forget its handler before it has ended
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise typer.Exit(TOLD_TO_LEAVE if result.told_to_leave else INTERRUPTED)


def reason(result: SweepResult) -> str:
    return "stopped by SIGTERM" if result.told_to_leave else "interrupted"

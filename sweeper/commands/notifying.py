"""What is sent to whom a study's `notify` names, when a run of it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sweeper.commands.terminal import warn
from sweeper.credentials import hide_credentials
from sweeper.safeguards.printable import one_line

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.paths import Workspace
    from sweeper.study.notice import Notice
    from sweeper.study.result import SweepResult

LEAVING_S = 3.0
"""After SIGTERM, when whoever sent it waits for seconds only."""


@contextmanager
def telling_of_errors(sweep: SweepConfig, workspace: Workspace) -> Iterator[None]:
    """Send word of an error that ends the block."""
    try:
        yield
    except typer.Exit:  # whose reason was told
        raise
    except Exception as error:
        from sweeper.study.notice import Notice

        reason = _plain(str(error) or type(error).__name__)
        text = f"study {sweep.study} failed: {reason}"
        _send(
            Notice(
                study=sweep.study,
                state="failed",
                text=text,
                reason=reason,
                trials={},
                best=None,
                folder=str(workspace.root),
            ),
            sweep,
        )
        raise


def tell_of_end(result: SweepResult, sweep: SweepConfig, workspace: Workspace, *, exported: bool) -> None:
    """Send word of how a run ended."""
    if sweep.notify.command or sweep.notify.webhook:
        _send(_notice(result, sweep, workspace, exported=exported), sweep, leaving=result.told_to_leave)


def _notice(result: SweepResult, sweep: SweepConfig, workspace: Workspace, *, exported: bool) -> Notice:
    from sweeper.commands.leaving import reason
    from sweeper.results import TrialState
    from sweeper.standings.ranking import ranked
    from sweeper.study.notice import Notice

    complete = [row for row in ranked(result.rows, sweep.objective.direction) if row.state is TrialState.COMPLETE]
    best = complete[0] if complete else None
    why = result.stopped_because
    state = "interrupted" if result.interrupted else "failed" if best is None else "stopped" if why else "finished"
    why = reason(result) if result.interrupted else why or (None if best else "no trial has finished")
    counts = dict(Counter(row.state.value for row in result.rows))
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no trials"
    reached = f"; best {sweep.objective.metric} {best.value:.4f} (trial {best.number})" if best and best.value else ""
    export = f"; exported to {workspace.export(sweep.study)}" if exported else ""
    text = f"study {sweep.study} {state}{f' ({why})' if why and why != state else ''}: {told}{reached}{export}"
    found = {"trial": best.number, "metric": sweep.objective.metric, "value": best.value} if best else None
    return Notice.model_validate(
        {
            "study": sweep.study,
            "state": state,
            "text": _plain(text),
            "reason": why and _plain(why),
            "trials": counts,
            "best": found,
            "folder": str(workspace.root),
        }
    )


def _send(notice: Notice, sweep: SweepConfig, *, leaving: bool = False) -> None:
    from sweeper.study.notice import PATIENCE_S, send

    failed = send(notice, sweep.notify, LEAVING_S if leaving else PATIENCE_S)
    if failed:
        warn(f"nobody was notified: {one_line(failed)}; the study itself is as told above")


def _plain(text: str) -> str:
    """Return text as one line without credentials."""
    return one_line(hide_credentials(text).replace("\n", " "))

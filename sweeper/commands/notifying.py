"""What is sent to whom a study's `notify` names, when a run of it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from sweeper.commands.leaving import INTERRUPTED, TOLD_TO_LEAVE, ToldToLeave, reason
from sweeper.commands.studies import open_study
from sweeper.commands.terminal import warn
from sweeper.credentials import hide_credentials
from sweeper.safeguards.printable import one_line

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.paths import Workspace
    from sweeper.results import TrialRow
    from sweeper.study.notice import Notice
    from sweeper.study.result import SweepResult

LEAVING_S = 3.0
"""After SIGTERM, when whoever sent it waits for seconds only."""


@dataclass
class Underway:
    """What is known of a run before it has ended: how its search did, and whether its best trial is exported."""

    result: SweepResult | None = None
    exported: bool = False


@contextmanager
def telling_of_errors(sweep: SweepConfig, workspace: Workspace, storage: str | None) -> Iterator[Underway]:
    """Send word of an error that ends the block, and of Ctrl-C and SIGTERM before the search and after it."""
    underway = Underway()
    try:
        yield underway
    except (typer.Exit, KeyboardInterrupt, ToldToLeave) as end:
        if (ended := _interrupted(end, underway.result)) is not None:
            tell_of_end(ended, sweep, workspace, storage, exported=underway.exported)
        raise
    except Exception as error:
        from sweeper.study.notice import Notice

        why = _plain(str(error) or type(error).__name__)
        text = f"study {sweep.study} failed: {why}"
        folder = str(workspace.root)
        _send(
            Notice(study=sweep.study, state="failed", text=text, reason=why, trials={}, best=None, folder=folder), sweep
        )
        raise


def _interrupted(end: typer.Exit | KeyboardInterrupt | ToldToLeave, known: SweepResult | None) -> SweepResult | None:
    """Return how a run was interrupted; None for an exit of another reason, which was told."""
    from sweeper.study.result import SweepResult

    code = end.exit_code if isinstance(end, typer.Exit) else INTERRUPTED
    if code not in (INTERRUPTED, TOLD_TO_LEAVE) or (known is None and isinstance(end, typer.Exit)):
        return None
    leaving = isinstance(end, ToldToLeave) or code == TOLD_TO_LEAVE
    begun = known or SweepResult([], interrupted=True, stopped_because=None, undelivered=0, experiment=None)
    return replace(begun, interrupted=True, told_to_leave=leaving)


def tell_of_end(
    result: SweepResult, sweep: SweepConfig, workspace: Workspace, storage: str | None, *, exported: bool
) -> None:
    """Send word of how a run ended."""
    if sweep.notify.command or sweep.notify.webhook:
        notice = _notice(result, sweep, workspace, storage, exported=exported)
        _send(notice, sweep, leaving=result.told_to_leave)


def _standing(
    result: SweepResult, sweep: SweepConfig, workspace: Workspace, storage: str | None
) -> tuple[list[TrialRow], TrialRow | None]:
    """Return the trials of a study and the one that stands for it, as the run knows them if they cannot be read now."""
    from sweeper.errors import SweeperError
    from sweeper.standings.pareto import choose
    from sweeper.standings.winner import study_winner

    try:
        store = open_study(workspace, storage, sweep.study)
        return result.rows or store.rows(), study_winner(store)
    except SweeperError:
        return result.rows, choose(result.rows, sweep)


def _notice(
    result: SweepResult, sweep: SweepConfig, workspace: Workspace, storage: str | None, *, exported: bool
) -> Notice:
    from sweeper.study.notice import Notice

    rows, best = _standing(result, sweep, workspace, storage)
    state, why = _ended(result, best)
    counts = dict(Counter(row.state.value for row in rows))
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no trials"
    metric = sweep.objective.metric
    reached = f"; best {metric} {best.value:.4f} (trial {best.number})" if best and best.value is not None else ""
    export = f"; exported to {workspace.export(sweep.study)}" if exported else ""
    text = f"study {sweep.study} {state}{f' ({why})' if why and why != state else ''}: {told}{reached}{export}"
    found = {"trial": best.number, "metric": metric, "value": best.value} if best else None
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


def _ended(result: SweepResult, best: TrialRow | None) -> tuple[str, str | None]:
    """Return the state of a notice, and the reason where there is one."""
    from sweeper.standings.no_winner import only_waits
    from sweeper.study.result import ASKED_TO_STOP

    why = result.stopped_because
    if result.interrupted:
        return "interrupted", reason(result)
    if result.undelivered and result.refused:
        return "failed", f"runs are not in MLflow: {result.refused}"
    if best is None and not (why == ASKED_TO_STOP and only_waits(result.rows)):
        return "failed", why or "no trial has finished"
    return ("stopped" if why else "finished"), why


def _send(notice: Notice, sweep: SweepConfig, *, leaving: bool = False) -> None:
    from sweeper.study.notice import PATIENCE_S, send

    failed = send(notice, sweep.notify, LEAVING_S if leaving else PATIENCE_S)
    if failed:
        warn(f"the notification failed: {one_line(failed)}; the study is not affected")


def _plain(text: str) -> str:
    """Return text as one line without credentials."""
    return one_line(hide_credentials(text).replace("\n", " "))

"""The ranking of backbones before a search, as it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from sweeper.commands.leaving import leave, reason
from sweeper.commands.notifying import tell_of_end
from sweeper.commands.ranked import show_ranked
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import say, warn
from sweeper.safeguards.printable import one_line

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.results import TrialRow
    from sweeper.study.backbone_ranking import Ranked
    from sweeper.study.result import SweepResult


def with_best_backbones(
    sweep: SweepConfig,
    storage_url: str,
    run: Callable[..., SweepResult],
    require: Callable[[SweepConfig], None],
    *,
    counts_earlier: bool = True,
) -> Ranked:
    """Return a search space with the best of its backbones, and show how they were ranked.

    Before that `require` raises what refuses the search itself. Exits where the ranking is interrupted, or somebody
    has asked it to stop. `counts_earlier` as of `rank_backbones`. Raises StudyError where no backbone could be judged.
    """
    from sweeper.config.searched import options
    from sweeper.study.backbone_ranking import left_out, rank_backbones

    def told(first: SweepConfig, **more: Any) -> SweepResult:
        say(f"backbones: {len(options(sweep.search.backbone))} are ranked by a head on the frozen features of each")
        return run(first, **more)

    found = rank_backbones(sweep, storage_url, told, require, counts_earlier=counts_earlier)
    if sweep.backbone_ranking is None:
        return found
    if found.result is None or found.ranking is None:
        say_known_backbones(found.sweep)
        return found
    if found.undecided:
        tell_of_end(found.result, found.ranking, this_workspace(), storage_url, exported=False)
        interrupted = found.result.interrupted
        why = reason(found.result) if interrupted else f"stopped: {found.result.stopped_because}; none is chosen yet"
        say(f"{why}; run the same command again to continue the ranking of backbones")
        if not interrupted:
            found.result.require_taken(found.ranking.study)
            raise typer.Exit  # as of a search that is stopped
        leave(found.result)
    show_ranked(found.result.rows, found.ranking, limit=20)
    for name, why in left_out(found):
        warn(f"{name} could not be ranked and is left out: {one_line(why)}")
    say(f"searching the best of the ranking: {', '.join(map(str, options(found.sweep.search.backbone)))}")
    return found


def say_known_backbones(sweep: SweepConfig) -> None:
    """Say which backbones a study that has begun goes on with."""
    from sweeper.config.searched import options

    say(f"backbones: {', '.join(map(str, options(sweep.search.backbone)))}, which the study searches")


def say_whether_it_held(found: Ranked, best: TrialRow | None) -> None:
    """Say at which place the backbone of the best trial was ranked, where it was."""
    names = [name for name, _ in found.order]
    if best is not None and best.config is not None and best.config.backbone in names:
        backbone = best.config.backbone
        say(f"ranking: the best trial uses {backbone}, which was ranked {names.index(backbone) + 1} of {len(names)}")

"""The ranking of backbones before a search, as it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.commands.leaving import leave, reason
from sweeper.commands.terminal import say, show

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.results import TrialRow
    from sweeper.study.result import SweepResult


@dataclass(frozen=True)
class Ranking:
    """The backbones that were judged, best first, each with what its head reached."""

    order: tuple[tuple[str, float], ...]

    def told_of(self, row: TrialRow) -> str | None:
        """Say how the backbone of the best trial was ranked; None where it was not."""
        names = [name for name, _ in self.order]
        if row.config is None or row.config.backbone not in names:
            return None
        place = names.index(row.config.backbone) + 1
        return f"ranking: the backbone of the best trial, {row.config.backbone}, was number {place} of {len(names)}"


def rank_backbones(
    sweep: SweepConfig, storage_url: str, run: Callable[[SweepConfig], SweepResult]
) -> tuple[SweepConfig, Ranking | None]:
    """Return a search space with the best of its backbones, and their ranking unless the study has begun already.

    Exits where the ranking is interrupted. Raises StudyError where no backbone could be judged.
    """
    from sweeper.config.searched import options
    from sweeper.display.tables import ranked_table
    from sweeper.study.backbone_ranking import in_rank_order, narrowed, ranking_sweep

    if sweep.backbone_ranking is None:
        return sweep, None
    if (begun := with_known_backbones(sweep, storage_url)) is not None:
        return begun, None
    first = ranking_sweep(sweep, sweep.backbone_ranking)
    say(f"backbones: {len(options(sweep.search.backbone))} are ranked by a head on the frozen features of each")
    result = run(first)
    if result.interrupted:
        say(f"{reason(result)}; the same command goes on with the ranking of backbones")
        leave(result)
    order = tuple(in_rank_order(result.rows, sweep.objective.direction))
    chosen = narrowed(sweep, [name for name, _ in order], sweep.backbone_ranking.keep)
    show(ranked_table(result.rows, first, limit=20))
    say(f"searched now, the best of the ranking: {', '.join(map(str, options(chosen.search.backbone)))}")
    return chosen, Ranking(order)


def with_known_backbones(sweep: SweepConfig, storage_url: str) -> SweepConfig | None:
    """Return a search space with the backbones that its study was begun with, and say so; None where there is none."""
    from sweeper.config.searched import options
    from sweeper.study.backbone_ranking import begun_with

    begun = begun_with(storage_url, sweep) if sweep.backbone_ranking is not None else None
    if begun is not None:
        say(f"backbones: {', '.join(map(str, options(begun.search.backbone)))}, which the study was begun with")
    return begun

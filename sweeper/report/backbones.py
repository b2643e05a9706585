"""How the backbones of a study were ranked before the search, and whether that held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialRow, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import ranked
from sweeper.study.chosen_backbones import noted_order


def backbone_ranking(store: StudyStore, rows: Sequence[TrialRow]) -> dict[str, Any] | None:
    """Return how the backbones of a study were ranked, as the page's script takes it; None where they were not.

    Each backbone has its place, from 1, what a head on its frozen features reached, how many trials of the search have
    ended with it, and the best value of those that finished.
    """
    sweep, order = store.sweep, noted_order(store)
    if not order:
        return None
    best = _best_trials(rows, sweep)
    counts = [
        row.config.backbone for row in rows if row.config and row.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    searched = options(sweep.search.backbone)
    backbones = [
        {
            "place": place,
            "name": backbone,
            "head": head,
            "searched": backbone in searched,
            "trials": counts.count(backbone),
            "best": best.get(backbone),
        }
        for place, (backbone, head) in enumerate(order, 1)
    ]
    return {"backbones": backbones, "told": whether_it_held([backbone for backbone, _ in order], list(best))}


def _best_trials(rows: Iterable[TrialRow], sweep: SweepConfig) -> dict[str, float]:
    """Return the best value that finished trials of each backbone have, the best backbone first."""
    best: dict[str, float] = {}
    for row in ranked(rows, sweep.objective.direction):
        if row.state is TrialState.COMPLETE and row.config and row.value is not None:
            best.setdefault(row.config.backbone, row.value)
    return best


def whether_it_held(order: Sequence[str], found: Sequence[str]) -> str:
    """Say whether the search found the order of the ranking.

    Args:
        order: The backbones as they were ranked.
        found: Those of trials that finished, in the order of their best trials.
    """
    searched = [name for name in found if name in order]
    if found and found[0] not in order:
        return f"The best trial uses {found[0]}, which was not ranked."
    if not searched:
        return "No trial of a ranked backbone has finished yet."
    winner = f"The best trial uses {searched[0]}, which was ranked {order.index(searched[0]) + 1} of {len(order)}."
    if len(searched) == 1:
        return winner
    of_them = f"By their best trials the {len(searched)} that were searched stand in"
    if searched == sorted(searched, key=order.index):
        return f"{winner} {of_them} the order of the ranking."
    return f"{winner} {of_them} another order: {', '.join(searched)}."

"""Which backbones of a search space are worth a search: a head on the frozen features of each says so in minutes.

The ranking is a study of its own: a grid of one trial for each backbone, each a head on features that are computed
once. So it runs on the same workers, is recorded in MLflow and goes on after an interruption as any study does. How
well a linear head does on frozen features tells much about how well fine-tuning will (Kornblith et al., arXiv
1805.08974).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.searched import largest, options
from sweeper.config.sweep import BackboneRankingConfig, SweepConfig
from sweeper.errors import StudyChanged, StudyError, StudyNotFound
from sweeper.results import TrialRow, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import ranked
from sweeper.study.chosen_backbones import begun_with, ranking_study, with_backbones
from sweeper.study.result import ASKED_TO_STOP, SweepResult

BATCH = 64
RATE = 1e-3
TIME_PART = 4
"""When one part in this many of a limited time is used, no further backbone is ranked; one under way is finished."""

SHARED = ("task", "objective", "seed", "engine", "device", "precision", "model_files")
"""Sections of the search space that the ranking has too."""


@dataclass(frozen=True)
class Ranked:
    """A search space with the best of its backbones.

    Attributes:
        sweep: What is searched.
        order: The backbones that were judged, best first, each with what its head reached; none where the study had
            begun before.
        result: How the study that ranks them ended.
        ranking: Its search space.
        seconds: What that study has used of the time in all.
        earlier_s: What earlier runs of the command have.
    """

    sweep: SweepConfig
    order: tuple[tuple[str, float], ...] = ()
    result: SweepResult | None = None
    ranking: SweepConfig | None = None
    seconds: float = 0.0
    earlier_s: float = 0.0

    @property
    def undecided(self) -> bool:
        """Whether the ranking has ended before it could choose: it was interrupted, or somebody asked it to stop."""
        return self.result is not None and not self.order

    @property
    def dropped(self) -> tuple[str, ...]:
        """The backbones that the ranking has left out."""
        ranked, searched = self.ranking, options(self.sweep.search.backbone)
        return tuple(name for name in (options(ranked.search.backbone) if ranked else ()) if name not in searched)


def rank_backbones(
    sweep: SweepConfig,
    storage_url: str,
    run: Callable[..., SweepResult],
    require: Callable[[SweepConfig], None],
    *,
    counts_earlier: bool = True,
) -> Ranked:
    """Return a search space with the best of its backbones; `run` runs the study that ranks them, as `run_sweep` does.

    Before it `require` raises what refuses the search itself. A study that has begun keeps its backbones. Where the
    ranking was interrupted, or somebody has asked it to stop, nothing is chosen yet: the study would keep what it began
    with. `counts_earlier`: the time in `sweep` counts that of earlier runs. Raises StudyError where no backbone could
    be judged, StudyChanged where the study was begun with others than those that are named by now.
    """
    if sweep.backbone_ranking is None:
        return Ranked(sweep)
    earlier_s = _seconds_used(storage_url, sweep)
    first = ranking_sweep(sweep, sweep.backbone_ranking, beside_s=0.0 if counts_earlier else earlier_s)
    if (begun := begun_with(storage_url, sweep)) is not None:
        return Ranked(begun, seconds=earlier_s, earlier_s=earlier_s)
    require(sweep)
    try:
        result = run(first, retry_failed=_has_failed(storage_url, first.study))
    except StudyChanged as error:
        again = f"to rank the backbones again: sweeper delete {first.study}, then the same command"
        raise StudyChanged(f"{str(error).partition('. ')[0]}; {again}") from error
    if result.interrupted or result.stopped_because == ASKED_TO_STOP:
        return Ranked(sweep, result=result, ranking=first)
    order = tuple(in_rank_order(result.rows, sweep.objective.direction))
    if not order:
        raise StudyError(f"no backbone of {sweep.study} could be ranked: {_why_none(first, result)}")
    best = narrowed(sweep, [name for name, _ in order], sweep.backbone_ranking.keep)
    return Ranked(best, order, result, first, _seconds_used(storage_url, sweep), earlier_s)


def _why_none(ranking: SweepConfig, result: SweepResult) -> str:
    if any(row.state.ended for row in result.rows):
        why = f"every trial of {ranking.study} that has ended failed; `sweeper status {ranking.study}` says why"
        return f"{why}; run the same command again to try them again"
    why = result.stopped_because or "it ended early"
    part = "; no backbone begins after a quarter of the time in `budget`: raise this time if it is too short"
    more = "" if ranking.budget.timeout is None else part
    return f"the ranking ended before one was judged: {why}{more}; run the same command again to continue"


def _seconds_used(storage_url: str, sweep: SweepConfig) -> float:
    """Return how long the study that ranks the backbones of another one has run."""
    try:
        return StudyStore.load(storage_url, ranking_study(sweep.study)).seconds_used
    except StudyNotFound:
        return 0.0


def _has_failed(storage_url: str, study: str) -> bool:
    """Return whether a study has failed trials, which are to be trained again."""
    try:
        rows = StudyStore.load(storage_url, study).rows()
    except StudyNotFound:
        return False
    return any(row.state is TrialState.FAILED for row in rows)


def left_out(ranked: Ranked) -> list[tuple[str, str]]:
    """Return the backbones that could not be judged, each with the reason; they are not searched."""
    if ranked.result is None or ranked.ranking is None:
        return []
    judged = {name for name, _ in ranked.order}
    reasons = {row.config.backbone: row.reason for row in ranked.result.rows if row.config and row.reason}
    names = [name for name in ranked.dropped if name not in judged]
    stopped = ranked.result.stopped_because or "the ranking ended before"
    return [(name, reasons.get(name) or stopped) for name in names]


def ranking_sweep(sweep: SweepConfig, ranking: BackboneRankingConfig, beside_s: float = 0.0) -> SweepConfig:
    """Return the search space of the study that ranks the backbones of another one.

    `beside_s`: what earlier runs of it have used that the time in `sweep` does not count.
    """
    content = sweep.model_dump(mode="json", by_alias=True)
    names = options(sweep.search.backbone)
    ranks = SweepConfig.model_validate(
        {
            **{key: content[key] for key in SHARED},
            "study": ranking_study(sweep.study),
            "tracking": {**content["tracking"], "name": sweep.tracking.name and ranking_study(sweep.tracking.name)},
            "dataset": {**content["dataset"], "folds": None, "limit": _limit(sweep, ranking)},
            "budget": {"trials": len(names), "epochs": ranking.epochs, "timeout": _time(sweep, beside_s)},
            "sampler": "grid",
            "pruner": "none",
            "features": {"views": 1},
            "search": {
                "backbone": {"choice": list(names)},
                "pretrained": True,
                "trainable": "head",
                "image_size": largest(sweep.search.image_size),
                "batch_size": BATCH,
                "optimizer": {"name": "adamw", "lr": RATE},
                "scheduler": "cosine",
            },
        }
    )
    return ranks.model_copy(update={"notify": sweep.notify})  # which is never written out


def _time(sweep: SweepConfig, beside_s: float) -> float | None:
    """Return the seconds after which no further backbone is judged: a part of those that there are in all.

    What the ranking has used is no longer there for the search (`study/run.py`).
    """
    whole = sweep.budget.time or sweep.budget.timeout
    return None if whole is None else (whole + beside_s) / TIME_PART


def _limit(sweep: SweepConfig, ranking: BackboneRankingConfig) -> dict[str, Any]:
    """Return how much of the data ranks: what the search space uses, and no more than the ranking is to have."""
    limit = sweep.dataset.limit.model_dump(mode="json")
    wanted = [count for count in (limit["train_images"], ranking.train_images) if count is not None]
    return {**limit, "train_images": min(wanted, default=None)}


def in_rank_order(rows: Iterable[TrialRow], direction: str) -> list[tuple[str, float]]:
    """Return the backbones that could be judged, best first, each with the objective of its head."""
    return [(row.config.backbone, row.value) for row in ranked(rows, direction) if row.config and row.value is not None]


def narrowed(sweep: SweepConfig, order: Sequence[str], keep: int) -> SweepConfig:
    """Return a search space with the best `keep` of its backbones, and those that `enqueue` names."""
    kept = {*order[:keep], *(given["backbone"] for given in sweep.enqueue.values() if "backbone" in given)}
    names = tuple(name for name in options(sweep.search.backbone) if name in kept)
    return with_backbones(sweep, names)

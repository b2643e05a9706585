"""The backbones of a study that a ranking has chosen, and what becomes of them where its file names others by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem, StudyChanged, StudyNotFound
from sweeper.search.stored_trial import RANKED
from sweeper.search.study_store import StudyStore

ORDER, DROPPED = "order", "dropped"


def ranking_study(study: str) -> str:
    """Return the name of the study that ranks the backbones of another one."""
    return f"{study}-backbones"


def note_ranking(store: StudyStore, order: Sequence[tuple[str, float]], dropped: Sequence[str]) -> None:
    """Note in a study that begins how its backbones were ranked: the study that did so may go, or serve another.

    `order` are those that were judged, best first, with what their heads reached; `dropped` those that it leaves out.
    """
    store.note(RANKED, {ORDER: [list(found) for found in order], DROPPED: list(dropped)})


def noted_order(store: StudyStore) -> list[tuple[str, float]]:
    """Return the backbones as they were ranked before a study began, best first; none where they were not."""
    return [(name, value) for name, value in (store.noted(RANKED) or {}).get(ORDER, ())]


def _dropped(store: StudyStore) -> Sequence[str]:
    """Return the backbones that the ranking has left out; of a study without a note, all that were ranked."""
    if noted := store.noted(RANKED):
        return list(noted.get(DROPPED, ()))
    try:
        return options(StudyStore.load(store.url, ranking_study(store.sweep.study)).sweep.search.backbone)
    except StudyNotFound:
        return ()


@dataclass(frozen=True)
class _Begun:
    """The backbones of a study that has begun, against those of its file.

    Attributes:
        backbone: What it searches.
        missing: Of these the ones that the file does not name.
        new: Those of the file that it does not search, and that its ranking has not dropped.
    """

    backbone: Any
    missing: tuple[str, ...]
    new: tuple[str, ...]

    @classmethod
    def of(cls, storage_url: str, sweep: SweepConfig) -> _Begun | None:
        """Return None where the study has not begun."""
        try:
            store = StudyStore.load(storage_url, sweep.study)
        except StudyNotFound:
            return None
        backbone, written = store.sweep.search.backbone, options(sweep.search.backbone)
        missing = tuple(name for name in options(backbone) if name not in written)
        known = (*options(backbone), *_dropped(store))
        return cls(backbone, missing, tuple(name for name in written if name not in known))


def begun_with(storage_url: str, sweep: SweepConfig) -> SweepConfig | None:
    """Return a search space with the backbones that its study searches, None where there is none yet.

    Raises StudyChanged where the file names others: one of them is gone, or there is one that was never ranked.
    """
    begun = _Begun.of(storage_url, sweep)
    if begun is None:
        return None
    told = [f"no longer names {', '.join(begun.missing)}"] if begun.missing else []
    told += [f"now names {', '.join(begun.new)}, which the study does not search"] if begun.new else []
    if told:
        raise StudyChanged(
            f"the study {sweep.study} was started with other backbones: the file {' and '.join(told)}; undo "
            f"the change, or go on with the backbones of the file: sweeper extend {sweep.study} FILE"
        )
    return with_backbone(sweep, begun.backbone)


def extended_to(storage_url: str, sweep: SweepConfig) -> tuple[SweepConfig, tuple[str, ...]]:
    """Return a search space with the backbones that its study goes on with, and those of them that are new.

    That is, those that it searches and that are still written, and those that are new in the file. Raises ConfigError
    where there are none, as where only those are written that the ranking has dropped.
    """
    begun = _Begun.of(storage_url, sweep)
    if begun is None:
        return sweep, ()
    if not begun.missing and not begun.new:
        return with_backbone(sweep, begun.backbone), ()
    searched = (*options(begun.backbone), *begun.new)
    names = [name for name in options(sweep.search.backbone) if name in searched]
    if not names:
        rule = f"names none that {sweep.study} searches ({', '.join(begun.missing)}), and no new one"
        remedy = "add one, or remove backbone_ranking to search those that are written"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.backbone", f"{rule}; {remedy}")])
    return with_backbones(sweep, names), begun.new


def with_backbones(sweep: SweepConfig, names: Sequence[str]) -> SweepConfig:
    """Return a search space with these of its backbones, which no ranking has to choose any more."""
    if len(names) == 1:
        return with_backbone(sweep, names[0])
    return with_backbone(sweep, sweep.search.backbone.model_copy(update={"choice": tuple(names)}))


def with_backbone(sweep: SweepConfig, backbone: Any) -> SweepConfig:
    search = sweep.search.model_copy(update={"backbone": backbone})
    return sweep.model_copy(update={"search": search, "backbone_ranking": None})

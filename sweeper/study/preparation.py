"""Before the first trial: decode the images in every size that a trial may ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sweeper.config.contradictions import plateau_metrics
from sweeper.config.engine import RayConfig
from sweeper.config.sampler import GridConfig
from sweeper.config.space import Choice, IntRange
from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard, describe
from sweeper.data.fetch import is_address, name_at, refresh, refuse_secrets
from sweeper.data.image_guard import ImagesAtStart
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.prepare import Prepared, prepare
from sweeper.data.progress import Tell
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
from sweeper.paths import StudyFolder, Workspace
from sweeper.search.grid import grid
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card
from sweeper.study.recorded import own_folder
from sweeper.study.same_images import require_same_images

MOST_SIZES = 8


def prepare_dataset(
    sweep: SweepConfig,
    workspace: Workspace,
    tell: Tell,
    require: Callable[[ImageIndex], object] = lambda _: None,
) -> Prepared:
    """Fetch and decode what is not here yet; returns the images in the largest size of the search space.

    `tell` takes the words for a step, how much of it is done, and how much there is.

    `require` refuses, before any is decoded, images that the study cannot be run on.
    Raises DatasetError when images or labels cannot be used, and ConfigError for an objective that is the same for
    all trials on these classes.
    """
    if sweep.dataset.path and is_address(sweep.dataset.path):
        refresh(sweep.dataset.path, workspace, tell)
    index = build_index(sweep.dataset, workspace, partial(tell, "comparing files of equal size"))
    refuse_constant_metrics(sweep, len(index.classes))
    require(index)
    decoding = partial(tell, "decoding images")
    prepared = [prepare(sweep.dataset, size, workspace, decoding, index) for size in decoded_sizes(sweep)]
    return prepared[-1]


@contextmanager
def images_guarded(folder: StudyFolder, prepared: Prepared | None) -> Iterator[None]:
    """Let the workers know, while the block runs, which images there are: they notice when these change.

    Where there are none nothing is guarded. Raises DiskError.
    """
    if prepared is None:
        yield
        return
    ImagesAtStart.of(prepared).write(folder.images)
    try:
        yield
    finally:
        folder.images.unlink(missing_ok=True)


def dataset_card(sweep: SweepConfig, prepared: Prepared) -> DatasetCard:
    """Return what is recorded of the data set of a study."""
    return describe(prepared.images, dataset_name(sweep))


def refuse_constant_metrics(sweep: SweepConfig, classes: int) -> None:
    """Raise ConfigError where trials are compared by a top-k accuracy of k or fewer classes, which is always 1."""
    named = [("objectives" if sweep.objectives else "objective.metric", goal.metric) for goal in sweep.goals]
    named += [("search.scheduler.metric", metric) for metric in plateau_metrics(sweep.search.scheduler)]
    rule = f"is 1 for every trial with {classes} classes, so it cannot rank trials; use val/accuracy or val/loss"
    problems = [
        Problem(IN_SEARCH_SPACE, key, f"{metric} {rule}")
        for key, metric in named
        if (found := re.search(r"/top(\d+)_accuracy$", metric)) and classes <= int(found[1])
    ]
    if problems:
        raise ConfigError(problems)


def refuse_impossible(sweep: SweepConfig) -> None:
    """Raise ConfigError for what cannot be, before anything is made on disk.

    That is: too many image sizes, a grid without end, and an address with secrets, which would be in all records.
    """
    decoded_sizes(sweep)
    if sweep.dataset.path and is_address(sweep.dataset.path):
        refuse_secrets(sweep.dataset.path)
    if isinstance(sweep.engine, RayConfig) and sweep.engine.shared:
        refuse_secrets(sweep.engine.shared, "engine.shared", "mount what is there on all nodes and name")
    if isinstance(sweep.sampler, GridConfig):
        grid(sweep.search, sweep.seed)


def require_images_of(workspace: Workspace, store: StudyStore, digest: str, otherwise: str) -> None:
    """Raise StudyChanged when a study's images are others than its trials were judged by."""
    sweep, card = store.sweep, read_card(own_folder(workspace, store))
    then = str(card.dataset["digest"]) if card is not None else ""
    require_same_images(dataset_name(sweep), f"the study {sweep.study}", now=digest, then=then, otherwise=otherwise)


def decoded_sizes(sweep: SweepConfig) -> list[int]:
    """Return the sizes in which the images are decoded."""
    return [sweep.dataset.stored_size] if sweep.dataset.stored_size else image_sizes(sweep.search.image_size)


def dataset_name(sweep: SweepConfig) -> str:
    path = str(sweep.dataset.path)
    name = name_at(path) if is_address(path) else Path(path).resolve().name
    return sweep.dataset.builtin or name


def image_sizes(value: Any) -> list[int]:
    """Return every image size of a search space, smallest first."""
    sizes = sorted(set(_possible(value)))
    if len(sizes) > MOST_SIZES:
        rule = f"at most {MOST_SIZES} different sizes are decoded; use a larger step or set dataset.stored_size"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.image_size", f"{rule}, got {len(sizes)} sizes")])
    return sizes


def _possible(value: Any) -> Iterable[int]:
    match value:
        case Choice():
            return [size for option in value.choice for size in _possible(option)]
        case IntRange(bounds=(low, high)):
            return range(low, high + 1, value.step)
        case _:
            return [int(value)]

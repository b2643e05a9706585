"""Weights that have learned the labels of images by which trials are to be judged: the accuracy would be too high."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from sweeper.config.dataset import DatasetConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.notes import GIVEN
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, DatasetError, Problem, StudyError
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card
from sweeper.study.recorded import own_folder


def require_unseen_images(key: str, sweep: SweepConfig, earlier: SweepConfig) -> None:
    """Refuse weights of an earlier study on the same images, where it or this one is cross-validated.

    Autoencoders learn from images without their labels and may be used.

    Args:
        key: Where the earlier study is named.
        sweep: The search space of the study that is to begin.
        earlier: That of the earlier one.

    Raises:
        ConfigError: images would judge that the weights have learned from.
    """
    ours, theirs = sweep.dataset, earlier.dataset
    if (
        not _same_place(ours, theirs)
        or isinstance(earlier.task, ReconstructionConfig)
        or not (ours.folds or theirs.folds)
    ):
        return
    if theirs.folds:
        rule = f"{earlier.study} is cross-validated, and its weights have seen all of these images"
    else:
        rule = f"{earlier.study} was trained on these images, which dataset.folds: {ours.folds} lets judge in turn"
    advice = "name a study of other images, or weights from elsewhere"
    raise ConfigError([Problem(IN_SEARCH_SPACE, key, f"{rule}, so that the accuracy would be too high; {advice}")])


class Earlier(NamedTuple):
    """A study that has trained what another one begins with.

    Attributes:
        key: Where it is named.
        sweep: Its search space.
        digest: That of its images and splits.
        images: How many each split had when it was trained.
    """

    key: str
    sweep: SweepConfig
    digest: str
    images: Mapping[str, int]


def earlier_studies(named: Mapping[str, str], workspace: Workspace, storage_url: str) -> Iterator[Earlier]:
    """Yield those that have been run here, of studies by name, each with the key that names it."""
    for study, key in named.items():
        with suppress(StudyError):
            store = StudyStore.load(storage_url, study)
            if (card := read_card(own_folder(workspace, store))) is not None:
                yield Earlier(key, store.sweep, str(card.dataset["digest"]), card.dataset["images"])


def drawn_alike(sweep: SweepConfig, index: ImageIndex, digest: str, earlier: Earlier, workspace: Workspace) -> str:
    """Require that the images that judge are not among those that an earlier study on them was trained on.

    Args:
        sweep: The search space of the study that is to begin.
        index: Its images and splits.
        digest: That of its images.
        earlier: The earlier study.
        workspace: Where lists of images are kept.

    Returns:
        A warning where the images are no longer those that the earlier study was trained on; else nothing.

    Raises:
        ConfigError: the splits are drawn otherwise, and images would judge that the weights have learned from.
    """
    ours, theirs, name = sweep.dataset, earlier.sweep.dataset, earlier.sweep.study
    if digest == earlier.digest or ours.folds or theirs.folds or not _same_place(ours, theirs):
        return ""
    if isinstance(earlier.sweep.task, ReconstructionConfig):
        return ""
    judging = [split for split in ("val", "test") if split in index.splits]
    drawn = any(index.notes.origin.get(split, GIVEN) != GIVEN for split in judging)
    unknown = (
        f"the images have changed since {name} was trained on them, and the splits are drawn anew" if drawn else ""
    )
    if unknown:
        unknown += ": it may have learned from some that judge here, so that the accuracy is too high"
    try:
        then = build_index(theirs, workspace)
    except DatasetError:
        return unknown
    learned = {then.paths[row] for row in then.splits["train"].tolist()}
    for split in judging:
        rows = index.splits[split].tolist()
        seen = sum(index.paths[row] in learned for row in rows)
        if seen:
            rule = f"{name} was trained on {seen:,} of the {len(rows):,} {split} images, since its splits are others"
            advice = "draw them alike (the keys of `dataset`), or name a study of other images"
            raise ConfigError(
                [Problem(IN_SEARCH_SPACE, earlier.key, f"{rule}; the accuracy would be too high; {advice}")]
            )
    changed = {split: len(rows) for split, rows in then.splits.items()} != dict(earlier.images)
    return unknown if changed else ""


def require_unseen_by_exports(key: str, seen: Mapping[str, str | None], digest: str) -> None:
    """Refuse exports of cross-validated studies on the same images, which have learned from all of them.

    Args:
        key: Where they are named.
        seen: By their names the digests of the images that they have seen whole, None where that is not known.
        digest: Of the images of the study that is to begin.

    Raises:
        ConfigError: images would judge that an export has learned from.
    """
    rule = "is the export of a cross-validated study and has seen all of these images, so that the accuracy would be"
    advice = "too high; name an export of other images"
    known = [name for name, found in seen.items() if found == digest]
    problems = [Problem(IN_SEARCH_SPACE, key, f"{name} {rule} {advice}") for name in known]
    if problems:
        raise ConfigError(problems)


def _same_place(ours: DatasetConfig, theirs: DatasetConfig) -> bool:
    return (_place(ours), ours.builtin) == (_place(theirs), theirs.builtin)


def _place(dataset: DatasetConfig) -> str | None:
    """Return where images are, however that is written; an address as it is."""
    path = dataset.path
    return path if path is None or "://" in path else os.path.realpath(path)

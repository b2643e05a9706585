"""Weights that have learned the labels of images by which trials are to be judged: the accuracy would be too high."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from sweeper.config.dataset import DatasetConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.listing import Split
from sweeper.data.notes import GIVEN
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, DatasetError, Problem, StudyError
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card
from sweeper.study.recorded import own_folder

JUDGING: tuple[Split, ...] = ("val", "test")


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
        given = f"dataset.folds: {ours.folds}"
        rule = f"{earlier.study} was trained on these images, and with {given} each of them judges trials"
    advice = "name a study of other images, or weights from elsewhere"
    raise ConfigError([Problem(IN_SEARCH_SPACE, key, f"{rule}, so the accuracy would be too high; {advice}")])


class Earlier(NamedTuple):
    """A study that has trained what another one begins with.

    Attributes:
        key: Where it is named.
        sweep: Its search space.
        digest: That of its images and splits; empty where it ran on another machine.
        images: How many each split had when it was trained; empty likewise.
    """

    key: str
    sweep: SweepConfig
    digest: str
    images: Mapping[str, int]


def earlier_studies(named: Mapping[str, str], workspace: Workspace, storage_url: str) -> Iterator[Earlier]:
    """Yield those that are stored here, of studies by name, each with the key that names it."""
    for study, key in named.items():
        with suppress(StudyError):
            store = StudyStore.load(storage_url, study)
            card = read_card(own_folder(workspace, store))
            dataset: dict[str, Any] = card.dataset if card is not None else {"digest": "", "profile": {"images": {}}}
            yield Earlier(key, store.sweep, str(dataset["digest"]), dataset["profile"]["images"])


def require_drawn_alike(sweep: SweepConfig, index: ImageIndex, earlier: Earlier, workspace: Workspace) -> None:
    """Refuse weights that were trained on images which are to judge, since an earlier study draws its splits otherwise.

    Args:
        sweep: The search space of the study that is to begin.
        index: Its images and splits.
        earlier: The earlier study.
        workspace: Where lists of images are kept.

    Raises:
        ConfigError: images would judge that the weights have learned from.
    """
    then = _index_of(sweep, earlier, workspace)
    learned = {then.paths[row] for row in then.splits["train"].tolist()} if then is not None else set()
    for split in _judging(index):
        rows = index.splits[split].tolist()
        seen = sum(index.paths[row] in learned for row in rows)
        if seen:
            rule = (
                f"{earlier.sweep.study} was trained on {seen:,} of the {len(rows):,} {split} images, because its "
                "splits differ from the ones here, so the accuracy would be too high; draw both in the same way (same "
                "keys of `dataset`), give both studies the lists of `sweeper data split`, or name other weights"
            )
            raise ConfigError([Problem(IN_SEARCH_SPACE, earlier.key, rule)])


def changed_since(
    sweep: SweepConfig, index: ImageIndex, digest: str, earlier: Earlier, workspace: Workspace
) -> str | None:
    """Return a warning where splits are drawn from other images than those that an earlier study was trained on.

    Which of them it has learned from is not known then. `digest` is that of the images of `index`.
    """
    drawn = any(index.notes.origin.get(split, GIVEN) != GIVEN for split in _judging(index))
    then = _index_of(sweep, earlier, workspace)
    if not drawn or then is None or not earlier.images or digest == earlier.digest:
        return None
    theirs = earlier.sweep.dataset
    all_used = theirs.on_bad_image == "error" and theirs.on_leak != "drop"
    counts = {split: len(rows) for split, rows in then.splits.items()}
    changed = counts != earlier.images if all_used else sweep.dataset == theirs
    if not changed:
        return None
    return (
        f"the images have changed since {earlier.sweep.study} was trained on them, and the splits are drawn anew: it "
        "may have learned from images that judge trials here, so the accuracy may be too high; to fix the splits in "
        "files, use `sweeper data split`"
    )


def _judging(index: ImageIndex) -> list[Split]:
    return [split for split in JUDGING if split in index.splits]


def _index_of(sweep: SweepConfig, earlier: Earlier, workspace: Workspace) -> ImageIndex | None:
    """Return the images of an earlier study as they are split now; None where they do not count, or are not there.

    Those of other places do not, nor those of folds (`require_unseen_images`); and autoencoders learn no labels.
    """
    ours, theirs = sweep.dataset, earlier.sweep.dataset
    autoencoder = isinstance(earlier.sweep.task, ReconstructionConfig)
    if ours.folds or theirs.folds or not _same_place(ours, theirs):
        return None
    if autoencoder and not isinstance(sweep.task, ReconstructionConfig):
        return None
    with suppress(DatasetError):
        return build_index(theirs, workspace)
    return None


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

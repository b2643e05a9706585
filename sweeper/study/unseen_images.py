"""Weights that have learned the labels of images by which trials are to be judged: the accuracy would be too high."""

from __future__ import annotations

import os.path
from collections.abc import Mapping

from sweeper.config.dataset import DatasetConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem


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
    same = (_place(ours), ours.builtin) == (_place(theirs), theirs.builtin)
    if not same or isinstance(earlier.task, ReconstructionConfig) or not (ours.folds or theirs.folds):
        return
    if theirs.folds:
        rule = f"{earlier.study} is cross-validated, and its weights have seen all of these images"
    else:
        rule = f"{earlier.study} was trained on these images, which dataset.folds: {ours.folds} lets judge in turn"
    advice = "name a study of other images, or weights from elsewhere"
    raise ConfigError([Problem(IN_SEARCH_SPACE, key, f"{rule}, so that the accuracy would be too high; {advice}")])


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


def _place(dataset: DatasetConfig) -> str | None:
    """Return where images are, however that is written; an address as it is."""
    path = dataset.path
    return path if path is None or "://" in path else os.path.realpath(path)

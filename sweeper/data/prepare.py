"""From the `dataset` section to an `ImageSet`: index the files, then decode or find them decoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.data.cache import ImageCache
from sweeper.data.class_titles import class_titles
from sweeper.data.decode import Depth
from sweeper.data.file_facts import FileFacts
from sweeper.data.folds import without
from sweeper.data.image_set import ImageSet, dataset_digest
from sweeper.data.index import ImageIndex, build_index, check_splits
from sweeper.data.listing import enumerated
from sweeper.data.progress import Progress
from sweeper.paths import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """An image set, and what is known of the files that it comes from."""

    images: ImageSet
    index: ImageIndex
    files: FileFacts
    digests: bytes
    """16 bytes a file of the index."""


def given_depth(dataset: DatasetConfig) -> Depth | None:
    """Return how values of more than 8 bits become 8, where the data set says so."""
    return Depth(dataset.bits, tags_first=False) if dataset.bits else None


def prepare_images(
    dataset: DatasetConfig, size: int, workspace: Workspace, progress: Progress | None = None
) -> ImageSet:
    """Return the data set with its images decoded to `size` by `size` pixels, or to its `stored_size`.

    The first call for a size decodes, and reports to `progress` the images done and all; any later
    call, from any process, maps the result into memory. Raises `DatasetError` when files, labels or
    splits cannot be used.
    """
    return prepare(dataset, size, workspace, progress).images


def prepare(
    dataset: DatasetConfig,
    size: int,
    workspace: Workspace,
    progress: Progress | None = None,
    index: ImageIndex | None = None,
) -> Prepared:
    """Do as `prepare_images` does, and return what was noticed of the files; `index` is theirs where it is known.

    Raises `DatasetError` likewise.
    """
    index = index or build_index(dataset, workspace)
    given = given_depth(dataset)
    cache = ImageCache(workspace.cache, dataset.stored_size or size, dataset.resize, given)
    cached = cache.open(index, skip_bad=dataset.on_bad_image == "skip", progress=progress)
    if cached.bad:
        index = _without(index, cached.bad)
    images = ImageSet(
        images=cached.images,
        labels=index.labels,
        classes=index.classes,
        splits=index.splits,
        digest=dataset_digest(index, cached.digest),
        titles=class_titles(index.root, index.classes),
        pixels=cached.name,
        paths=index.paths,
        depth=given or Depth(cached.files.bits),
        folds=index.folds,
    )
    return Prepared(images, index, cached.files, cached.digests)


def _without(index: ImageIndex, bad: dict[int, str]) -> ImageIndex:
    """Leave bad images out of the splits; their rows stay, so that the others keep their numbers."""
    lines = [f"{index.paths[row]}: {reason}" for row, reason in sorted(bad.items())]
    logger.warning("%s: left out %d unreadable images:\n%s", index.root, len(bad), enumerated(lines, limit=20))
    rows = np.array(sorted(bad), dtype=np.int64)
    splits = {split: np.setdiff1d(kept, rows, assume_unique=True) for split, kept in index.splits.items()}
    folds = without(index.folds, rows)
    check_splits(splits, index.labels, index.classes, where=str(index.root), folds=folds)
    return replace(index, splits=splits, folds=folds)

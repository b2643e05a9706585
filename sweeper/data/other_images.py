"""Other images than those a model was trained on, labelled with the classes that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.data.cache import ImageCache
from sweeper.data.class_titles import class_titles
from sweeper.data.decode import Depth
from sweeper.data.fingerprint import file_states
from sweeper.data.image_set import ImageSet, dataset_digest
from sweeper.data.index import ImageIndex, read_listing
from sweeper.data.labels import look_alikes, plain, written
from sweeper.data.listing import Listing, Split, enumerated
from sweeper.data.notes import Notes
from sweeper.data.prepare import Prepared
from sweeper.data.progress import Progress
from sweeper.errors import DatasetError
from sweeper.paths import Workspace


def other_images(
    dataset: DatasetConfig,
    split: Split,
    classes: Sequence[str],
    size: int,
    workspace: Workspace,
    depth: Depth,
    progress: Progress | None = None,
    *,
    titled: bool = False,
) -> Prepared:
    """Return one split of a data set, its labels as indices into `classes`, its pixels by the `depth` of the training.

    Where the data set names no splits, all of its images are taken. Not every class need occur. With `titled` classes
    are given by their titles, which are names with the words of `words.txt`.

    Raises:
        DatasetError: it has other splits and not this one, or a class that is not among `classes`.
    """
    listing = read_listing(dataset, workspace)
    classes = _untitled(classes, set(listing.class_names)) if titled else classes
    index = _index(listing, split, tuple(classes), str(dataset.path), normalize=dataset.labels == "normalize")
    cache = ImageCache(workspace.cache, dataset.stored_size or size, dataset.resize, depth)
    cached = cache.open(index, skip_bad=False, progress=progress)
    titles = class_titles(index.root, index.classes)
    digest = dataset_digest(index, cached.digest)
    images = ImageSet(cached.images, index.labels, index.classes, index.splits, digest, titles, paths=index.paths)
    return Prepared(images, index, cached.files, cached.digests)


def _index(listing: Listing, split: Split, classes: tuple[str, ...], where: str, *, normalize: bool) -> ImageIndex:
    named = {name for name in listing.split_names if name}
    wanted = [row for row, name in enumerate(listing.split_names) if name == split or not named]
    if not wanted:
        there = f"it has {', '.join(sorted(named))}" if named else "it has no images at all"
        raise DatasetError(f"{where}: there is no {split} split: {there}; name another split or folder")
    names = [listing.class_names[row] for row in wanted]
    if normalize:  # as the model's classes were, whose spelling counts
        _require_distinct(classes, where)
        known = {plain(name): name for name in classes}
        names = [known.get(plain(name), name) for name in names]
    _require_known(set(names), classes, where)
    number = {name: place for place, name in enumerate(classes)}
    paths = [listing.paths[row] for row in wanted]
    return ImageIndex(
        root=listing.root,
        paths=paths,
        labels=np.array([number[name] for name in names], dtype=np.int64),
        classes=classes,
        splits={split: np.arange(len(wanted))},
        states=file_states(listing.root, paths),
        notes=Notes(columns=listing.columns),
    )


def _untitled(titles: Sequence[str], names: set[str]) -> tuple[str, ...]:
    """Return classes by their names where titles begin with these; those of one name stay as they are."""
    found = [title if title in names else _beginning(title, names) for title in titles]
    return tuple(title if found.count(name) > 1 else name for title, name in zip(titles, found, strict=True))


def _beginning(title: str, names: set[str]) -> str:
    return max((name for name in names if title.startswith(f"{name} ")), key=len, default=title)


def _require_distinct(classes: tuple[str, ...], where: str) -> None:
    """Raise DatasetError where the model itself tells spellings apart that are to be one."""
    alike = look_alikes(classes)
    if alike:
        raise DatasetError(
            f"{Path(where)}: labels cannot be normalized, since the model tells such spellings apart:\n"
            f"{enumerated([written(names) for names in alike])}\nName the labels as in the training."
        )


def _require_known(names: set[str], classes: tuple[str, ...], where: str) -> None:
    unknown = sorted(names - set(classes))
    if unknown:
        known = {plain(name): name for name in classes}
        alike = [written((name, known[plain(name)])) for name in unknown if plain(name) in known]
        advice = f"\nSome look alike; `sweeper evaluate --labels normalize` takes them for one:\n{enumerated(alike)}"
        raise DatasetError(
            f"{Path(where)}: {len(unknown):,} of {len(names):,} classes are unknown to the model:\n"
            f"{enumerated(unknown)}\nIt knows {len(classes):,}:\n{enumerated(classes)}{advice * bool(alike)}\n"
            "Name the folders or labels as in the training."
        )

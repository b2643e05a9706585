"""`DatasetCard`: the facts about a data set that are recorded with a study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.data.image_set import ImageSet


@dataclass(frozen=True)
class DatasetCard:
    """What a data set holds; `dataclasses.asdict` gives plain JSON.

    With cross-validation all folds count as training images. `images` counts the images of every split, `class_counts`
    those of every class in it, in the order of `classes`.
    """

    name: str
    digest: str
    image_size: int
    classes: tuple[str, ...]
    images: dict[str, int]
    class_counts: dict[str, tuple[int, ...]]


def describe(image_set: ImageSet, name: str) -> DatasetCard:
    """Count the images of a data set."""
    count, splits = len(image_set.classes), image_set.splits
    if image_set.folds:
        whole = image_set.without_validation().splits
        splits = {split: rows for split, rows in whole.items() if split != "val"}
    return DatasetCard(
        name=name,
        digest=image_set.digest,
        image_size=image_set.image_size,
        classes=image_set.classes,
        images={split: len(rows) for split, rows in splits.items()},
        class_counts={
            split: tuple(np.bincount(image_set.labels[rows], minlength=count).tolist())
            for split, rows in splits.items()
        },
    )

"""`DatasetCard`: the facts about a data set that are recorded with a study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.data.image_set import ImageSet


@dataclass(frozen=True)
class DatasetCard:
    """What a data set holds; `dataclasses.asdict` gives plain JSON.

    `images` counts the images of every split, `class_counts` those of every class in it, in the
    order of `classes`.
    """

    name: str
    digest: str
    image_size: int
    classes: tuple[str, ...]
    images: dict[str, int]
    class_counts: dict[str, tuple[int, ...]]


def describe(image_set: ImageSet, name: str) -> DatasetCard:
    """Count the images of a data set."""
    count = len(image_set.classes)
    return DatasetCard(
        name=name,
        digest=image_set.digest,
        image_size=image_set.image_size,
        classes=image_set.classes,
        images={split: len(rows) for split, rows in image_set.splits.items()},
        class_counts={
            split: tuple(np.bincount(image_set.labels[rows], minlength=count).tolist())
            for split, rows in image_set.splits.items()
        },
    )

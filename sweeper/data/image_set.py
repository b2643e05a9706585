"""`ImageSet`: decoded images with their labels and splits, as training and inference take them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeper.data.decode import FULL_DEPTH, Depth, Pixels
from sweeper.data.folds import Folds, validating
from sweeper.data.index import ImageIndex
from sweeper.data.splitting import Rows, Splits


@dataclass(frozen=True)
class ImageSet:
    """A data set ready for use.

    `images` is uint8 [N, S, S, 3], memory-mapped; `labels` int64 [N], an index into `classes`;
    `splits` maps train, val and perhaps test to sorted row numbers. `digest` names the data set:
    32 hexadecimal digits that change with any byte of any image, any label and any split, but not
    with the image size or the place where the files lie. `titles` are the classes as people read them.
    `pixels` names the decoded bytes themselves: it changes with any byte of any file, the size and the
    way of decoding; what is computed from them is kept under it, and not at all where it is empty.
    `paths` [N] are the files, relative to the root of the data set; empty for pixels that come from none.
    `depth` is how images with more than 8 bits were read. With cross-validation val is the first of the `folds`.
    """

    images: Pixels
    labels: Rows
    classes: tuple[str, ...]
    splits: Splits
    digest: str
    titles: tuple[str, ...] = ()
    pixels: str = ""
    paths: Sequence[str] = ()
    depth: Depth = FULL_DEPTH
    folds: Folds = ()

    @property
    def image_size(self) -> int:
        return int(self.images.shape[1])

    def validating(self, fold: int) -> ImageSet:
        """Return the same images with a fold, counted from 1, as validation split; the others are trained on."""
        return replace(self, splits=validating(self.folds, fold, self.splits))

    def without_validation(self) -> ImageSet:
        """Return the same images with all folds to train on; the validation split is among them, the first fold."""
        return replace(self, splits={**self.splits, "train": np.sort(np.concatenate(self.folds))})


def dataset_digest(index: ImageIndex, content_digest: str) -> str:
    """Return the digest of a data set from that of its files."""
    described = {
        "content": content_digest,
        "classes": index.classes,
        "labels": index.labels.tolist(),
        "splits": {split: rows.tolist() for split, rows in sorted(index.splits.items())},
    }
    if index.folds:
        described["folds"] = [rows.tolist() for rows in index.folds]
    return hashlib.blake2b(json.dumps(described).encode(), digest_size=16).hexdigest()

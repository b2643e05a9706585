"""What a model says about every image of a split, as a file: the best few classes and their probabilities.

It is small (52 bytes an image before compression, however many classes there are), and enough for the
confusion matrix, calibration, the worst mistakes and the comparison of two models image by image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sweeper.errors import StudyError
from sweeper.files import write_whole
from sweeper.safeguards.arrays import packed, unpacked
from sweeper.scores.confusion import Confusion

MOST_CLASSES = 10
"""Classes kept of each image."""

Ids = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """The N images of a split in its order, and the K classes that the model finds likeliest for each.

    `images` names the files (`image_ids`); `labels` [N] are the true classes; `classes` and
    `probabilities` [N, K] stand in falling order, the first being the prediction; `true` [N] is the
    probability of the true class. Probabilities are exact to three digits.
    """

    images: Ids
    labels: Numbers
    classes: Numbers
    probabilities: Shares
    true: Shares

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> Numbers:
        first: Numbers = self.classes[:, 0]
        return first

    def best_alone(self, like: Predictions | None = None) -> Predictions:
        """Return the likeliest class of each image alone, in less memory: what is the same as in `like` is shared."""
        images, labels = self.images, self.labels
        if like is not None and np.array_equal(images, like.images) and np.array_equal(labels, like.labels):
            images, labels = like.images, like.labels
        return Predictions(images, labels, self.classes[:, :1].copy(), self.probabilities[:, :1].copy(), self.true)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.predicted, self.labels)

    def shares(self, count: int) -> npt.NDArray[np.float64]:
        """Return the probability of each of `count` classes, [N, count]: those not kept share what is left."""
        kept, rows = self.probabilities.astype(np.float64), np.arange(len(self))
        rest = np.maximum(0.0, 1 - kept.sum(axis=1)) / max(1, count - kept.shape[1])
        shares = np.repeat(rest[:, None], count, axis=1)
        shares[rows[:, None], self.classes] = kept
        shares[rows, self.labels] = self.true
        return shares

    def confusion(self, count: int) -> Confusion:
        """Return the confusion matrix [count, count]: rows true, columns predicted."""
        cells = np.bincount(self.labels * count + self.predicted, minlength=count * count)
        return cells.reshape(count, count).astype(np.int64)


def image_ids(paths: Iterable[str]) -> Ids:
    """Return 64 bits that name each file, by its path below the data set's root."""
    digests = (hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).digest() for path in paths)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as .npz: whole numbers in 16 bits, probabilities in half precision."""
    content = packed(
        images=predictions.images,
        labels=predictions.labels.astype(np.uint16),
        classes=predictions.classes.astype(np.uint16),
        probabilities=predictions.probabilities.astype(np.float16),
        true=predictions.true.astype(np.float16),
    )
    write_whole(path, content)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote. Raises StudyError for a file that is none."""
    try:
        images, labels, *shares = unpacked(path.read_bytes(), "images", "labels", "classes", "probabilities", "true")
        _require_fitting(images, labels, *shares)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} holds no predictions of sweeper ({error}); it may be damaged") from error
    classes, probabilities, true = shares
    return Predictions(
        images=images,
        labels=labels.astype(np.int64),
        classes=classes.astype(np.int64),
        probabilities=probabilities.astype(np.float32),
        true=true.astype(np.float32),
    )


def _require_fitting(images: Any, labels: Any, classes: Any, probabilities: Any, true: Any) -> None:
    """Raise ValueError for arrays of other kinds or lengths."""
    kinds = [array.dtype.kind for array in (images, labels, classes, probabilities, true)]
    if kinds != ["u", "u", "u", "f", "f"]:
        raise ValueError(f"arrays of the kinds {', '.join(kinds)}")
    if not (images.shape == labels.shape == true.shape == (len(labels),) == classes.shape[:1]):
        raise ValueError("arrays of several lengths")
    if classes.ndim != 2 or classes.shape != probabilities.shape or not classes.shape[1]:
        raise ValueError("other classes than probabilities")

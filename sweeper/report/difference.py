"""How two models differ: parameters, scores, and what they say about the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sweeper.report.compared_model import Side
from sweeper.scores.mcnemar import mcnemar
from sweeper.scores.metrics import scores
from sweeper.scores.predictions import Predictions


@dataclass(frozen=True)
class ClassChange:
    """One class on both sides: how many images it has, and recall and F1 of A and of B."""

    name: str
    images: int
    recall: tuple[float, float]
    f1: tuple[float, float]


@dataclass(frozen=True)
class PairedPredictions:
    """What both say about the N images that both have seen, in the same order on both sides.

    `p_value` is that of McNemar's exact test (`scores/mcnemar.py`): the probability of a split at least as uneven
    were both equally good.
    """

    a: Predictions
    b: Predictions
    p_value: float
    relabelled: int = 0
    """Images that are left out, since their class in A is another one than in B."""

    @property
    def newly_right(self) -> npt.NDArray[np.int64]:
        """The images that B gets right and A does not."""
        return np.flatnonzero(~self.a.right & self.b.right)

    @property
    def newly_wrong(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.a.right & ~self.b.right)

    @property
    def both_right(self) -> int:
        return int((self.a.right & self.b.right).sum())

    @property
    def both_wrong(self) -> int:
        return int((~self.a.right & ~self.b.right).sum())

    def confusion_change(self, classes: int) -> npt.NDArray[np.int64]:
        """Return [C, C], how many more images B puts into each cell than A."""
        change: npt.NDArray[np.int64] = self.b.confusion(classes) - self.a.confusion(classes)
        return change


@dataclass(frozen=True)
class Difference:
    """Two sides, the parameters that differ, and the images that both have seen, or why there are none."""

    a: Side
    b: Side
    params: Mapping[str, tuple[Any, Any]]
    paired: PairedPredictions | None
    why_not: str
    classes: tuple[ClassChange, ...]


def difference(a: Side, b: Side) -> Difference:
    """Compare two sides. Parameters that only one has are None on the other side."""
    names = dict.fromkeys([*a.params, *b.params])
    params = {name: (a.params.get(name), b.params.get(name)) for name in names}
    differing = {name: both for name, both in params.items() if both[0] != both[1]}
    why_not = _why_not(a, b)
    paired = None
    if not why_not and a.predictions is not None and b.predictions is not None:
        paired = pair(a.predictions, b.predictions)
    if paired is not None and not len(paired.a):
        paired, why_not = None, "they have no image of the same class in common; name images for both with --data"
    return Difference(a, b, differing, paired, why_not, _class_changes(paired, a.classes) if paired else ())


def _why_not(a: Side, b: Side) -> str:
    without = [side.name for side in (a, b) if side.predictions is None]
    if without:
        return f"no predictions are kept of {' and '.join(without)}; name images for both with --data"
    if a.classes != b.classes:
        return f"they know other classes: {len(a.classes)} and {len(b.classes)}"
    if _judged_elsewhere(a, b):
        return "they were judged on other data sets, where one name may be two images; name images for both with --data"
    return ""


def _judged_elsewhere(a: Side, b: Side) -> bool:
    """Return whether both are known to be of other data sets: in one place a name stays the name of its image."""
    known = bool(a.judged_on and b.judged_on)
    return known and a.judged_on != b.judged_on and a.judged_at != b.judged_at


def pair(a: Predictions, b: Predictions) -> PairedPredictions:
    """Bring the images that both have seen, as the same class, into one order; test which is right more often."""
    _, in_a, in_b = np.intersect1d(a.images, b.images, return_indices=True)
    same = a.labels[in_a] == b.labels[in_b]
    relabelled, in_a, in_b = int((~same).sum()), in_a[same], in_b[same]
    order = np.argsort(in_a)
    left, right = _rows(a, in_a[order]), _rows(b, in_b[order])
    gained = int((~left.right & right.right).sum())
    lost = int((left.right & ~right.right).sum())
    return PairedPredictions(left, right, mcnemar(gained, lost), relabelled)


def _rows(predictions: Predictions, rows: npt.NDArray[np.intp]) -> Predictions:
    return Predictions(**{name: value[rows] for name, value in vars(predictions).items()})


def _class_changes(paired: PairedPredictions, names: tuple[str, ...]) -> tuple[ClassChange, ...]:
    before, after = (scores(side.confusion(len(names))) for side in (paired.a, paired.b))
    return tuple(
        ClassChange(
            name,
            int(before.class_support[number]),
            (float(before.class_recall[number]), float(after.class_recall[number])),
            (float(before.class_f1[number]), float(after.class_f1[number])),
        )
        for number, name in enumerate(names)
    )

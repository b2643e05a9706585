"""Classification metrics: counted on the device without waiting for it, computed from one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

TOP = 5


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix shows. Arrays have one entry a class, [C]."""

    accuracy: float
    precision: float
    """Mean over the classes that occur in truth or prediction; likewise the next two."""
    recall: float
    f1: float
    class_precision: Floats
    class_recall: Floats
    class_f1: Floats
    class_support: Counts
    """Samples of each class."""


def scores(confusion: Counts) -> Scores:
    """Compute accuracy and macro and per-class precision, recall and F1.

    A quotient with nothing below the line counts as 0. Classes that occur neither in truth nor in
    prediction are left out of the means. This is `precision_recall_fscore_support` of scikit-learn
    with `average="macro", zero_division=0`.

    Args:
        confusion: [C, C] counts; a row for every true class, a column for every predicted one.

    Raises:
        ValueError: the matrix counts no sample.
    """
    support, predicted, hits = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    if not support.sum():
        raise ValueError("a confusion matrix without a single sample has no scores")
    precision, recall = quotient(hits, predicted), quotient(hits, support)
    f1 = quotient(2 * hits, support + predicted)
    occurs = (support + predicted) > 0
    return Scores(
        accuracy=float(hits.sum() / support.sum()),
        precision=float(precision[occurs].mean()),
        recall=float(recall[occurs].mean()),
        f1=float(f1[occurs].mean()),
        class_precision=precision,
        class_recall=recall,
        class_f1=f1,
        class_support=support,
    )


def quotient(above: Counts, below: Counts) -> Floats:
    """Divide counts, giving 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


class ClassificationMetrics:
    """Collects loss, top-5 hits and the confusion matrix of one pass over a split.

    `update` launches work on the device and never waits for it; `compute` and `confusion` do.
    Of equal scores the lower class wins, and NaN is below every number.

    Args:
        classes: Number of classes, C.
        device: Where logits and labels are.
    """

    def __init__(self, classes: int, device: torch.device | str):
        import torch

        # Sums of many losses need double precision; Apple's GPUs have none.
        precise = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self._loss = torch.zeros(1, dtype=precise, device=device)
        self._top = torch.zeros(1, dtype=torch.int64, device=device)
        self._confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        self._classes = torch.arange(classes, device=device)

    def reset(self) -> None:
        """Forget what was counted."""
        for part in (self._loss, self._top, self._confusion):
            part.zero_()

    def update(self, logits: torch.Tensor, labels: torch.Tensor, losses: torch.Tensor) -> None:
        """Count one batch.

        Args:
            logits: [B, C] class scores.
            labels: [B] int64, the true classes.
            losses: [B], the loss of every sample.
        """
        import torch

        with torch.no_grad():
            ranked = logits.masked_fill(logits.isnan(), float("-inf"))
            self._loss += losses.sum(dtype=self._loss.dtype)
            self._top += in_top(ranked, labels, self._classes).sum()
            places = labels * len(self._classes) + ranked.argmax(1)
            self._confusion.index_add_(0, places, torch.ones_like(labels))

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, top5_accuracy and macro precision, recall and f1 of all that was counted.

        Raises:
            ValueError: nothing was counted.
        """
        return self.compute_all()[0]

    def compute_all(self) -> tuple[dict[str, float], Counts]:
        """Return what `compute` does and the confusion matrix [C, C], rows true, columns predicted, waiting once."""
        found = self._on_host()
        return summary(*found), found[2]

    def _on_host(self) -> tuple[float, int, Counts]:
        """Return loss sum, top-5 hits and confusion matrix by a single copy."""
        import torch

        # Doubles hold counts up to 2 ** 53 exactly.
        packed = (
            torch.cat([part.to(self._loss.dtype) for part in (self._loss, self._top, self._confusion)]).cpu().numpy()
        )
        classes = len(self._classes)
        return float(packed[0]), int(packed[1]), packed[2:].astype(np.int64).reshape(classes, classes)


class StackedMetrics:
    """Collects the same for K networks at once, each with inputs of its own."""

    def __init__(self, members: int, classes: int, device: torch.device | str):
        import torch

        precise = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self._loss = torch.zeros(members, dtype=precise, device=device)
        self._top = torch.zeros(members, dtype=torch.int64, device=device)
        self._confusion = torch.zeros(members * classes * classes, dtype=torch.int64, device=device)
        self._classes = torch.arange(classes, device=device)
        self._first = torch.arange(members, device=device)[:, None] * classes

    def update(self, logits: torch.Tensor, labels: torch.Tensor, losses: torch.Tensor) -> None:
        """Count one batch of each: logits [K, B, C], labels [K, B] and losses [K, B]."""
        import torch

        with torch.no_grad():
            ranked = logits.masked_fill(logits.isnan(), float("-inf"))
            self._loss += losses.sum(1, dtype=self._loss.dtype)
            hits = in_top(ranked.flatten(0, 1), labels.flatten(), self._classes)
            self._top += hits.view(labels.shape).sum(1)
            cells = (self._first + labels) * len(self._classes) + ranked.argmax(2)
            self._confusion.index_add_(0, cells.flatten(), torch.ones_like(cells).flatten())

    def compute(self) -> list[tuple[dict[str, float], Counts]]:
        """Return the scores of each member and its confusion matrix [C, C]."""
        import torch

        members, classes = len(self._loss), len(self._classes)
        # One copy for all; doubles hold counts up to 2 ** 53 exactly.
        parts = [part.to(self._loss.dtype) for part in (self._loss, self._top, self._confusion)]
        packed = torch.cat(parts).cpu().numpy()
        losses, tops = packed[:members].tolist(), packed[members : 2 * members].astype(np.int64).tolist()
        confusions = packed[2 * members :].astype(np.int64).reshape(members, classes, classes)
        return [
            (summary(loss, top, confusion), confusion)
            for loss, top, confusion in zip(losses, tops, confusions, strict=True)
        ]


def summary(loss: float, top: int, confusion: Counts) -> dict[str, float]:
    """Return what a pass is judged by, from the sum of its losses, its top-5 hits and its confusion matrix.

    Raises:
        ValueError: nothing was counted.
    """
    found = scores(confusion)
    samples = int(confusion.sum())
    return {
        "loss": loss / samples,
        "accuracy": found.accuracy,
        "top5_accuracy": top / samples,
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
    }


def in_top(logits: torch.Tensor, labels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Tell for every sample whether fewer than 5 classes stand before the true one.

    `topk` leaves open which of equal scores it takes; here the lower class stands first, as in `argmax`.

    Args:
        logits: [B, C] without NaN.
        labels: [B].
        classes: [C], 0 to C - 1.
    """
    own = logits.gather(1, labels[:, None])
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return before.sum(1) < TOP

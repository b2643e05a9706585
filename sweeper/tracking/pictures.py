"""Pictures for a run: confusion matrices, readable at 10 classes and at 200, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sweeper.confusion import Confusion
from sweeper.results import EpochMetrics

CELL_INCHES = 0.16  # at 200 classes a picture of 32 by 32 inches: every label can be read when zoomed
MOST_CLASSES_WITH_NUMBERS = 30
CONFUSED_PAIRS = 20


def draw_confusion(confusion: Confusion, classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix, coloured by the share of each true class, with the worst pairs beside it."""
    count = len(classes)
    side = max(5.0, min(count * (0.45 if count <= MOST_CLASSES_WITH_NUMBERS else CELL_INCHES), 40.0))
    size = max(9.0, side / 2)  # of letters that are read before zooming, in points
    beside = size * 0.45  # inches for the list of pairs
    figure = Figure(figsize=(side + beside + 1.5, side + 1.2), layout="constrained")
    matrix, pairs = figure.subplots(1, 2, width_ratios=[side, beside])
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # The square root of the share: single confusions stay visible beside a strong diagonal.
    image = matrix.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=matrix, label="share of the true class", fraction=0.03, pad=0.01)
    _label_axes(matrix, classes, 8 if count <= MOST_CLASSES_WITH_NUMBERS else 6)
    if count <= MOST_CLASSES_WITH_NUMBERS:
        _write_numbers(matrix, confusion, share)
    accuracy = np.trace(confusion) / max(int(confusion.sum()), 1)
    matrix.set_title(f"{title}: {accuracy:.2%} of {int(confusion.sum()):,} images", fontsize=size * 1.2)
    _list_pairs(pairs, confusion, classes, size)
    figure.savefig(path, dpi=100)


def _label_axes(axes: Axes, classes: Sequence[str], size: int) -> None:
    names = [name if len(name) <= 24 else name[:23] + "…" for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _write_numbers(axes: Axes, confusion: Confusion, share: npt.NDArray[np.float64]) -> None:
    for true, predicted in np.argwhere(confusion > 0).tolist():
        color = "white" if share[true, predicted] > 0.4 else "black"
        axes.text(predicted, true, str(confusion[true, predicted]), ha="center", va="center", color=color, fontsize=8)


def _list_pairs(axes: Axes, confusion: Confusion, classes: Sequence[str], size: float) -> None:
    """List the most frequent confusions, worst first."""
    axes.axis("off")
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(wrong, axis=None, kind="stable")[::-1][:CONFUSED_PAIRS]
    lines = [
        f"{wrong[true, predicted]:>5}  {classes[true]} → {classes[predicted]}"
        for true, predicted in zip(*np.unravel_index(worst, wrong.shape), strict=True)
        if wrong[true, predicted]
    ]
    text = "\n".join(["most confused (true → predicted)", "", *(lines or ["none"])])
    axes.text(0, 1, text, va="top", fontsize=size, family="monospace", transform=axes.transAxes, parse_math=False)


def draw_curves(history: Sequence[EpochMetrics], best_epoch: int | None, path: Path) -> None:
    """Draw loss, accuracy, macro scores and learning rate over the epochs; the best epoch is marked."""
    panels = {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["train/accuracy", "val/accuracy", "val/top5_accuracy"],
        "macro scores": ["val/precision", "val/recall", "val/f1"],
        "learning rate": ["lr"],
    }
    figure = Figure(figsize=(11, 7), layout="constrained")
    epochs = [point.epoch for point in history]
    for axes, (title, keys) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for key in keys:
            axes.plot(epochs, [point.values.get(key, np.nan) for point in history], marker=".", label=key)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch {best_epoch}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)

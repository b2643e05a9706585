"""Learning curves of a trial as a picture.

What all pictures have in common is laid out once: a plotting library takes longer over that, and over legends and
ticks, than over the curves, and trials of a second end faster than such pictures are made (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeper.results import EpochMetrics

PANELS = {
    "classification": {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["train/accuracy", "val/accuracy", "val/top5_accuracy"],
        "macro scores": ["val/precision", "val/recall", "val/f1"],
        "learning rate": ["lr"],
    },
    "reconstruction": {
        "loss (mean squared error)": ["train/loss", "val/loss"],
        "PSNR in dB": ["train/psnr", "val/psnr"],
        "SSIM": ["val/ssim"],
        "learning rate": ["lr"],
    },
}
"""The four diagrams of each task, with their metrics."""

# Fractions of the figure, and of a panel. To find them anew for each picture takes most of its time.
MARGINS = {"left": 0.06, "right": 0.985, "bottom": 0.065, "top": 0.925, "wspace": 0.2, "hspace": 0.16}
LETTER, APART = 0.0158, 0.04  # a letter, and what is between two names
EPOCH_LABEL = (0.5, -0.09)


class CurvesPicture:
    """Draws loss, what else a task is judged by and learning rate over the epochs. For one thread at a time."""

    def __init__(self, task: str):
        self._task = task

    def draw(self, history: Sequence[EpochMetrics], best_epoch: int | None, path: Path) -> None:
        """Write the picture of a trial as a PNG; the best epoch is marked."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sheet.draw(history, best_epoch, path)

    @cached_property
    def _sheet(self) -> _Sheet:
        return _Sheet(PANELS[self._task])


@dataclass(frozen=True)
class _Panel:
    """One diagram: a line for each of its metrics, and one across at the best epoch."""

    axes: Axes
    lines: dict[str, Line2D]
    best: Line2D


class _Sheet:
    """Four diagrams over the same epochs, to be filled in again and again."""

    def __init__(self, panels: dict[str, list[str]]):
        self._figure = Figure(figsize=(11, 7))
        self._figure.subplots_adjust(**MARGINS)
        self._best = self._figure.text(MARGINS["right"], 0.985, "", ha="right", va="top", fontsize=9, color="grey")
        grid = self._figure.subplots(2, 2, sharex=True)
        self._panels = [
            _panel(axes, title, keys) for axes, (title, keys) in zip(grid.flat, panels.items(), strict=True)
        ]
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_label_coords(*EPOCH_LABEL)

    def draw(self, history: Sequence[EpochMetrics], best_epoch: int | None, path: Path) -> None:
        epochs = [point.epoch for point in history]
        beside = max(0.5, (len(epochs) - 1) * 0.04)  # empty, left and right
        self._best.set_text("" if best_epoch is None else f"dotted: best epoch {best_epoch}")
        for panel in self._panels:
            for key, line in panel.lines.items():
                line.set_data(epochs, [point.values.get(key, np.nan) for point in history])
            panel.best.set_visible(best_epoch is not None)
            panel.best.set_xdata([best_epoch or 0] * 2)
            panel.axes.set_ylim(0, 1, auto=None)  # for a diagram without a point
            panel.axes.relim(visible_only=True)
            panel.axes.autoscale_view(scalex=False)
            if epochs:
                panel.axes.set_xlim(epochs[0] - beside, epochs[-1] + beside)
        self._figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 1})


def _panel(axes: Axes, title: str, keys: list[str]) -> _Panel:
    """Lay out one diagram."""
    lines = {key: axes.plot([], [], marker=".")[0] for key in keys}
    best = axes.axvline(0, color="grey", linestyle=":")
    axes.set_title(title, loc="left", y=1.0, fontsize=11)
    if len(lines) > 1:
        _name_lines(axes, lines)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    return _Panel(axes, lines, best)


def _name_lines(axes: Axes, lines: dict[str, Line2D]) -> None:
    """Name the lines above their diagram, in their colours, from the right: a legend takes several times as long."""
    right = 1.0
    for key, line in reversed(lines.items()):
        axes.text(right, 1.02, key, color=line.get_color(), ha="right", fontsize=9, transform=axes.transAxes)
        right -= len(key) * LETTER + APART

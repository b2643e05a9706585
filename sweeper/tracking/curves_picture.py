"""Learning curves of a trial as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sweeper.results import EpochMetrics

CLASSIFICATION = {
    "loss": ["train/loss", "val/loss"],
    "accuracy": ["train/accuracy", "val/accuracy", "val/top5_accuracy"],
    "macro scores": ["val/precision", "val/recall", "val/f1"],
    "learning rate": ["lr"],
}
RECONSTRUCTION = {
    "loss (mean squared error)": ["train/loss", "val/loss"],
    "PSNR in dB": ["train/psnr", "val/psnr"],
    "SSIM": ["val/ssim"],
    "learning rate": ["lr"],
}

# Fractions of the figure. Finding them by layout="constrained" takes a third of the time.
MARGINS = {"left": 0.06, "right": 0.985, "bottom": 0.075, "top": 0.955, "wspace": 0.15, "hspace": 0.28}


def draw_curves(history: Sequence[EpochMetrics], best_epoch: int | None, path: Path) -> None:
    """Draw loss, what else the task is judged by and learning rate over the epochs; the best epoch is marked."""
    reconstructs = bool(history) and "val/psnr" in history[0].values
    panels = RECONSTRUCTION if reconstructs else CLASSIFICATION
    figure = Figure(figsize=(11, 7))
    figure.subplots_adjust(**MARGINS)
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
        axes.legend(fontsize=8, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)

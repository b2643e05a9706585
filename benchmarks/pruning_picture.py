"""Draw what benchmarks.pruning measured: the share of good trials lost over the share of epochs spent.

    python -m benchmarks.pruning_picture RESULT.json... docs/pruning.png

A point is a setting, a line the best that a family of settings does at each cost.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.frontier import loss_at

mpl.use("Agg")
from matplotlib import pyplot as plt

FAMILIES = {
    "median, percentile": "tab:gray",
    "successive halving": "tab:orange",
    "hyperband": "tab:green",
    "plateau, percentile": "tab:blue",
    "promote, one rung": "tab:purple",
}


def main() -> None:
    *results, picture = (Path(name) for name in sys.argv[1:])
    figure, panels = plt.subplots(1, len(results), figsize=(6 * len(results), 4), squeeze=False, layout="constrained")
    for panel, path in zip(panels[0], results, strict=True):
        draw(panel, json.loads(path.read_text()))
    panels[0][0].set_ylabel("share of the best tenth that is pruned")
    panels[0][-1].legend(frameon=False)
    figure.savefig(picture, dpi=90)


def draw(panel: Any, result: dict[str, Any]) -> None:
    levels = np.linspace(0.15, 1, 300)
    for family, color in FAMILIES.items():
        points = [one for one in result["settings"] if one["family"] == family]
        costs, losses = (np.array([one[key] for one in points]) for key in ("cost", "tenth"))
        panel.plot(costs, losses, ".", color=color, markersize=4, alpha=0.5)
        panel.plot(levels, loss_at(levels, costs, losses), color=color, label=family)
    panel.set(title=f"{Path(result['curves']).stem}, {result['trials']} curves", xlim=(0.15, 1), ylim=(0, 1))
    panel.set_xlabel("share of the epochs of no pruning")


if __name__ == "__main__":
    main()

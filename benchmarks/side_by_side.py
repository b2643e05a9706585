"""Figures of alternatives that were measured in turn, so that their ratios hold on a noisy machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.table import Table

Rows = dict[str, list[float]]
"""What was measured, by name and unit, once for each repeat."""


def conditions(options: Any) -> dict[str, Any]:
    """Return what the figures depend on: machine, versions and options; of paths only the last part."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    shown = {name: value.name if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "processor": platform.processor() or platform.machine(),
        "gpu": gpu,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        "options": shown,
    }


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of every pair that was measured one after the other."""
    return [left / right for left, right in zip(above, below, strict=True)]


def show(title: str, rows: Rows) -> None:
    """Print median, smallest and largest of every row."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "median", "smallest", "largest", "n"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in rows.items():
        figures = [f"{value:.4g}" for value in (statistics.median(values), min(values), max(values))]
        table.add_row(name, *figures, str(len(values)))
    Console(width=120).print(table)


def write(path: Path | None, title: str, rows: Rows, options: Any) -> None:
    """Write every figure with its median and what it depends on, where a file is named."""
    if path is None:
        return
    medians = {name: statistics.median(values) for name, values in rows.items()}
    content = {"benchmark": title, "median": medians, "values": rows, "conditions": conditions(options)}
    path.write_text(json.dumps(content, indent=1) + "\n")

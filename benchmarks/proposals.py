"""What `sweeper init` proposes for images, on this machine or one with a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml

from sweeper.paths import Workspace
from sweeper.proposal.data import look_at_data
from sweeper.proposal.machine import look_at_machine, stopwatch
from sweeper.proposal.text import space_text

HOURS = 1000.0
"""Plenty: a benchmark has its own trials and epochs."""

Learns = Literal["all", "last_stage", "head"]


def proposal(images: Path, learns: Learns, weights: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a search space in which this part of networks learns on the CPU.

    Args:
        images: Their folder.
        learns: Whole networks are proposed as on a machine with a GPU, heads as where last stages have no time.
        weights: Architectures whose weights are there; None for those in the model hub's cache.
    """
    data, machine = look_at_data(str(images), Workspace(images.parent)), look_at_machine("cpu")
    timer = stopwatch("cpu", machine.precision)
    machine = replace(machine, weights=machine.weights if weights is None else tuple(weights))
    machine = replace(machine, gpu=learns == "all" and bool(machine.weights))
    timer = timer if learns == "last_stage" else replace(timer, last_stage=lambda *_: None)
    space: dict[str, Any] = yaml.safe_load(space_text(data, machine, HOURS, timer, "cpu"))
    searched = space["search"].get("trainable", "all")
    if machine.weights and searched != learns:
        raise SystemExit(f"{learns} should learn, and on this machine {searched} is proposed")
    return space

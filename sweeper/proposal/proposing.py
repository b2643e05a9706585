"""Look at images and at this machine, and propose a search space."""

from __future__ import annotations

from collections.abc import Collection

from sweeper.paths import Workspace
from sweeper.proposal.data import look_at_data
from sweeper.proposal.machine import look_at_machine, stopwatch
from sweeper.proposal.text import space_text


def proposed(
    images: str,
    workspace: Workspace,
    hours: float,
    device: str,
    most_recipes: int | None = None,
    taken: Collection[str] = (),
) -> str:
    """Return a search space for images, as YAML.

    Args:
        images: A path, as `dataset.path` takes it.
        workspace: Of the study.
        hours: How long the study may take.
        device: What trains: auto, cpu, cuda, cuda:1, mps.
        most_recipes: How many settings of common practice are put first, at most; None for all there are.
        taken: Names of studies that this one is not to have.

    Raises:
        DatasetError: the images cannot be used.
        DeviceError: the device is not there.
    """
    data, machine = look_at_data(images, workspace), look_at_machine(device)
    timer = stopwatch(device, machine.precision)
    return space_text(data, machine, hours, timer, device, most_recipes=most_recipes, taken=taken)

"""`sweeper init`: a first search space for a folder of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sweeper.commands.options import DeviceOption, ForceOption, device_named
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import say, waiting


def init(
    images: Annotated[str, typer.Argument(help="Class folders, a CSV file, or a folder with train/ and val/.")],
    out: Annotated[Path, typer.Option(help="Write the search space here.")] = Path("space.yaml"),
    hours: Annotated[float, typer.Option(min=0.01, max=10_000, help="How long the study may take.")] = 2.0,
    force: ForceOption = False,
    device: DeviceOption = "auto",
    with_recipes: Annotated[
        bool, typer.Option("--recipes/--no-recipes", help="Try settings of common practice first, as `enqueue`.")
    ] = True,
) -> None:
    """Look at images and at this machine, and write a search space that runs as it is, each choice with its reason."""
    from sweeper.config.loading import load_sweep

    text = write_proposal(images, out, hours, device, force=force, with_recipes=with_recipes)
    sweep = load_sweep(out, [], lambda *_: [])
    say(text.rstrip())
    say(f"\nwritten to {out}: as many trials of up to {sweep.budget.epochs} epochs as fit into {hours:g} h")
    say(f"next: sweeper run {out}")


def write_proposal(
    images: str, out: Path, hours: float, device: str, *, force: bool = False, with_recipes: bool = True
) -> str:
    """Look at images and machine, write a search space and return its text.

    Raises ConfigError where another file is in the way, DatasetError where the images cannot be used.
    """
    from sweeper.proposal.data import look_at_data
    from sweeper.proposal.machine import images_per_second, look_at_machine
    from sweeper.proposal.text import space_text
    from sweeper.safeguards.outputs import SPACE, Output

    output = Output(out, SPACE, "--out", (Path(images),), force)
    output.require_free()
    device_named(device)
    speed = partial(images_per_second, wanted=device)
    with waiting("looking at the images and timing networks"):
        data, machine = look_at_data(images, this_workspace()), look_at_machine(device)
        text = space_text(data, machine, hours, speed, device, with_recipes=with_recipes)
    output.write(text)
    return text

"""`sweeper init`: a first search space for a folder of images, or a copy of one that comes with sweeper."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.commands.copying import copy_example
from sweeper.commands.help import Command
from sweeper.commands.options import DeviceOption, ForceOption, device_named
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import ask, can_ask, say, waiting
from sweeper.safeguards.quantity import quantity

SPACE = Path("space.yaml")
HOURS = 2.0
LEAST_HOURS, MOST_HOURS = 0.01, 10_000


class NameMayLack(Command):
    """A command whose `--example` may stand without a name: it then lists the names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[-1:] == ["--example"]:
            args = [*args, ""]
        return super().parse_args(ctx, args)


def init(
    images: Annotated[
        str | None,
        typer.Argument(
            help="Class folders, a CSV file, or a folder with train/ and val/; without it a terminal asks.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"Write the search space here, by default {SPACE}.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            min=LEAST_HOURS,
            max=MOST_HOURS,
            help=f"How long the study may take, by default {HOURS:g}.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    device: DeviceOption = "auto",
    with_recipes: Annotated[
        bool, typer.Option("--recipes/--no-recipes", help="Try commonly used configurations first (section `enqueue`).")
    ] = True,
    example: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Copy a search space that comes with sweeper; without a name list them."),
    ] = None,
) -> None:
    """Look at images and at this machine, and write a search space that runs as it is, each choice with its reason."""
    if example is not None:
        _require_alone(images, hours, device, with_recipes)
        copy_example(example, out, force=force)
        return
    from sweeper.config.loading import load_sweep
    from sweeper.proposal.choices import short_time

    if images is None:
        images, hours, out = _asked(hours, out)
    out, hours = out or SPACE, hours or HOURS
    if not force:
        _require_not_run(out)
    text = write_proposal(images, out, hours, device, None if with_recipes else 0, force=force)
    sweep = load_sweep(out, [], lambda *_: [])
    say(text.rstrip())
    epochs = quantity(sweep.budget.epochs, "epoch")
    say(f"\nwritten to {out}: as many trials of up to {epochs} as fit into {short_time(hours)}")
    say(f"next: sweeper run {shlex.quote(str(out))}")


def _require_alone(images: str | None, hours: float | None, device: str, with_recipes: bool) -> None:
    """Raise ConfigError for what says how a search space is to be written, where one is copied as it is."""
    from sweeper.errors import ConfigError, Problem

    given = {"IMAGES": images is not None, "--hours": hours is not None, "--device": device != "auto"}
    given["--no-recipes"] = not with_recipes
    named = [name for name, there in given.items() if there]
    if named:
        rule = f"copies a search space as it is; leave out {' and '.join(named)}, and change the copy"
        raise ConfigError([Problem("--example", "", rule)])


def _require_not_run(out: Path) -> None:
    """Raise ConfigError for a file whose study has been run here: without it that study could not go on."""
    from sweeper.commands.run import study_in
    from sweeper.errors import ConfigError, Problem

    study = study_in(out)
    if study in this_workspace().studies_run():
        rule = f"{out} is the search space of {study}, which has been run here; name another file, or give --force"
        raise ConfigError([Problem("--out", "", rule)])


def _asked(hours: float | None, out: Path | None) -> tuple[str, float, Path]:
    """Ask for what a search space cannot be written without. Raises ConfigError where nobody can answer."""
    from sweeper.errors import ConfigError, Problem

    if not can_ask():
        rule = "is missing: name a folder of images, as in `sweeper init photos`, or `--example` lists search spaces"
        raise ConfigError([Problem("IMAGES", "", rule)])
    images = ask("Where are the images? A folder of class folders, or a CSV file", _existing)
    hours = hours or ask("How long may the study take? Such as 45m or 2h", _hours, f"{HOURS:g}h")
    return images, hours, out or ask("Write the search space to", _written_to, str(SPACE))


def _written_to(answer: str) -> Path:
    """Return a path as it was typed. Raises ValueError for the home of nobody."""
    try:
        return Path(answer.strip()).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{answer.strip()}: {error}") from error


def _existing(answer: str) -> str:
    """Return a path as it was typed. Raises ValueError where nothing is there."""
    path = _written_to(answer)
    if not path.exists():
        raise ValueError(f"nothing is at {path}; relative paths begin in {Path.cwd()}")
    return str(path)


def _hours(answer: str) -> float:
    """Return hours from a duration, or from a number of hours. Raises ValueError."""
    from sweeper.config.bounds import SECONDS, duration

    try:
        hours = float(answer)
    except ValueError:
        hours = float(duration(answer)) / SECONDS["h"]
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        raise ValueError(f"should be from {LEAST_HOURS:g} to {MOST_HOURS:,} hours, got {answer}")
    return hours


def _require_a_name(images: str) -> None:
    """Raise ConfigError for images whose name a search space cannot hold."""
    from sweeper.data.fetch import refuse_secrets
    from sweeper.errors import ConfigError, Problem

    if not images:
        raise ConfigError([Problem("IMAGES", "", "is empty; the current folder is named by a dot")])
    try:
        images.encode()
    except UnicodeEncodeError:
        rule = f"should be a name of UTF-8 text, which a search space can hold, got {images!a}; rename it"
        raise ConfigError([Problem("IMAGES", "", rule)]) from None
    refuse_secrets(images, "IMAGES")


def write_proposal(
    images: str,
    out: Path,
    hours: float,
    device: str,
    most_recipes: int | None = None,
    *,
    taken: Collection[str] = (),
    force: bool = False,
) -> str:
    """Look at images and machine, write a search space and return its text. Its study has no name that is `taken`.

    Raises ConfigError where another file is in the way, DatasetError where the images cannot be used.
    """
    from sweeper.proposal.proposing import proposed
    from sweeper.safeguards.outputs import SPACE, Output

    _require_a_name(images)
    output = Output(out, SPACE, "--out", (Path(images),), force)
    output.require_free()
    device_named(device)
    workspace = this_workspace()
    with waiting("looking at the images and timing networks"):
        text = proposed(images, workspace, hours, device, most_recipes, {*taken, *workspace.studies_run()})
    output.write(text)
    return text

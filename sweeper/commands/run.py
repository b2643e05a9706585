"""`sweeper run`: a study, up to its budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.commands.options import (
    EngineOption,
    EpochsOption,
    FoldsOption,
    ForOption,
    GoesToOption,
    OverridesOption,
    RayAddressOption,
    ReportOption,
    RunDeviceOption,
    SharedOption,
    StorageOption,
    TrackingNameOption,
    TrialsOption,
    UntilOption,
    WorkersOption,
    with_deadline,
    with_engine,
    with_shorthands,
    with_tracking_name,
)
from sweeper.commands.plan import show_plan
from sweeper.commands.running import check_names, run_and_tell
from sweeper.commands.terminal import say

HOURS = 2.0
"""How long a study of a folder of images takes, unless --for says otherwise."""


def run(
    space: Annotated[
        Path, typer.Argument(help="The search space, a YAML file; or a folder of images, for which one is written.")
    ],
    overrides: OverridesOption = None,
    trials: TrialsOption = None,
    epochs: EpochsOption = None,
    folds: FoldsOption = None,
    device: RunDeviceOption = None,
    for_: ForOption = None,
    until: UntilOption = None,
    workers: WorkersOption = None,
    warm_start_from: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Begin a new study with the five best trials of an earlier one.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train the settings of failed trials once more, beyond the budget.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what `sweeper plan` shows, and run nothing.")
    ] = False,
    with_report: ReportOption = True,
    storage: StorageOption = None,
    tracking_uri: GoesToOption = None,
    tracking_name: TrackingNameOption = None,
    engine: EngineOption = None,
    ray_address: RayAddressOption = None,
    shared: SharedOption = None,
) -> None:
    """Run a study up to its budget, or go on with one that was interrupted.

    With --for or --until, or budget.for, it ends by then with the best model exported: it searches, trains the best
    trials again with fresh seeds, and exports the one that is really best.
    """
    from sweeper.config.loading import load_sweep, naming_lines

    started = time.monotonic()
    given = with_deadline(  # at once, since --until counts from now
        with_shorthands(overrides, trials=trials, epochs=epochs, folds=folds, device=device), for_, until
    )
    if _is_folder(space):
        space = _space_for(space, _hours(given, for_), device)
    given = with_tracking_name(with_engine(given, engine, ray_address, shared), tracking_name)
    sweep = load_sweep(space, given, check_names)
    with naming_lines(space, given):
        if dry_run:
            _require_no_trials(warm_start_from, retry_failed=retry_failed)
            show_plan(sweep, workers)
            return
        run_and_tell(
            sweep,
            workers=workers,
            storage=storage,
            tracking_uri=tracking_uri,
            with_report=with_report,
            warm_start_from=warm_start_from,
            retry_failed=retry_failed,
            started=started,
            counts_earlier=until is None,
        )


def _require_no_trials(warm_start_from: str | None, *, retry_failed: bool) -> None:
    """Raise ConfigError for options that say which trials are run, where none is."""
    from sweeper.errors import ConfigError, Problem

    given = {"--warm-start-from": warm_start_from is not None, "--retry-failed": retry_failed}
    named = [name for name, there in given.items() if there]
    if named:
        raise ConfigError([Problem("--dry-run", "", f"runs no trial; leave out {' and '.join(named)}")])


def _is_folder(path: Path) -> bool:
    """Return whether there is a folder of this name; of one that no file can have there is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def study_in(space: Path) -> str | None:
    """Return the study that a file is the search space of; None where it is none, or is not readable."""
    study = _content(space).get("study")
    return study if isinstance(study, str) else None


def _content(space: Path) -> dict[str, Any]:
    from sweeper.config.document import read_document

    if not space.is_file():  # a pipe would be waited for
        return {}
    try:
        data = read_document(space.read_text(encoding="utf-8"), str(space)).data
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _of_other_images(space: Path, images: Path) -> tuple[str, str] | None:
    """Return the images and the study of a search space for others; None where it is for these, or is not readable."""
    from sweeper.safeguards.printable import one_line

    data = _content(space)
    dataset = data.get("dataset")
    if not isinstance(dataset, dict):
        return None
    named = dataset.get("path", dataset.get("builtin"))
    if not isinstance(named, str) or Path(named).expanduser().resolve() == images.expanduser().resolve():
        return None
    return one_line(named), str(data.get("study"))


def _is_of_another_program(path: Path) -> bool:
    """Return whether a file has keys and values, and none that a search space cannot be without."""
    content = _content(path)
    return bool(content) and not content.keys() & {"study", "dataset", "search"}


def _hours(overrides: Sequence[str], duration: str | None) -> float:
    """Return how long the study may take, by the last override that says it; to the minute where that is --until.

    Raises ConfigError for no duration, and for one that `sweeper init` does not take.
    """
    from sweeper.commands.init import LEAST_HOURS, MOST_HOURS
    from sweeper.config.bounds import SECONDS
    from sweeper.config.bounds import duration as seconds_of
    from sweeper.errors import ConfigError, Problem

    parts = [override.partition("=") for override in overrides]
    named = [value.strip() for key, _, value in parts if key.strip() == "budget.for"]
    if not named or named[-1] == "null":
        return HOURS
    try:
        seconds = float(seconds_of(named[-1]))
        hours = (seconds if duration else max(1, round(seconds / SECONDS["m"])) * SECONDS["m"]) / SECONDS["h"]
        if not LEAST_HOURS <= hours <= MOST_HOURS:
            raise ValueError(f"should be from {LEAST_HOURS:g} to {MOST_HOURS:,} hours, got {named[-1]}")
        return hours
    except ValueError as error:
        raise ConfigError([Problem("--for" if duration else "--set budget.for", "", str(error))]) from None


def _space_for(images: Path, hours: float, device: str | None) -> Path:
    """Return the search space for a folder of images: the one of its name that is here, else one written now.

    Another folder may have the same name: the file for this one then has a number.
    """
    from sweeper.commands.init import write_proposal
    from sweeper.proposal.text import study_name

    name, taken = study_name(str(images)), set[str]()
    for number in count(1):
        path = Path(f"{name}.yaml" if number == 1 else f"{name}-{number}.yaml")
        if not path.exists():
            break
        if _is_of_another_program(path):
            say(f"{path} is no search space")
            continue
        found = _of_other_images(path, images)
        if found is None:
            say(f"using {path}, written earlier for {images}; delete it to get a new one")
            return path
        other, study = found
        taken.add(study)
        say(f"{path} is the search space for other images: {other}")
    write_proposal(str(images), path, hours, device or "auto", taken=taken)
    say(f"written to {path}, with a reason for each choice; to change them, edit it and run the same command again")
    return path

"""`sweeper plan`: what a search space would do here, before it does anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import (
    EngineOption,
    EpochsOption,
    FoldsOption,
    ForOption,
    JsonOption,
    OverridesOption,
    RunDeviceOption,
    TrialsOption,
    UntilOption,
    WorkersOption,
    with_deadline,
    with_engine,
    with_shorthands,
)
from sweeper.commands.running import check_names
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import beside_json, progress_bar, say, show, warn, write_json

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.planning.plan import Plan


def plan(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    overrides: OverridesOption = None,
    trials: TrialsOption = None,
    epochs: EpochsOption = None,
    folds: FoldsOption = None,
    device: RunDeviceOption = None,
    for_: ForOption = None,
    until: UntilOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try every branch of a search space for a moment, and say what the study would take; no trial is run.

    Each optimizer, scheduler and head makes a training step, each network several at the bounds of its batch size.
    Exit code 1 where a branch cannot work.
    """
    from sweeper.config.loading import load_sweep, naming_lines

    given = with_deadline(
        with_shorthands(overrides, trials=trials, epochs=epochs, folds=folds, device=device), for_, until
    )
    given = with_engine(given, engine, None, None)
    sweep = load_sweep(space, given, check_names)
    with naming_lines(space, given):
        show_plan(sweep, workers, as_json=as_json)


def show_plan(sweep: SweepConfig, workers: str | None, *, as_json: bool = False) -> None:
    """Make a plan and show it. Raises ConfigError for what cannot be; exit code 1 where a branch cannot work."""
    from sweeper.display.answers import PlanAnswer
    from sweeper.planning.plan import make_plan
    from sweeper.study.single_images import refuse_single_images

    refuse_single_images(sweep)
    with beside_json(as_json):
        with progress_bar("trying branches and networks") as progress:
            made = make_plan(sweep, this_workspace(), workers, progress)
        if as_json:
            write_json(PlanAnswer.of(made).model_dump(mode="json"))
        else:
            _tell(made, sweep)
    if made.failures:
        raise typer.Exit(1)


def _tell(made: Plan, sweep: SweepConfig) -> None:
    from sweeper.display.opening import WARNING, opening_lines
    from sweeper.display.plan import branches_line, cost_lines, disk_warning, energy_line, failure_lines, networks_table

    for line in opening_lines(made.opening):
        say(line)
    say(branches_line(made))
    for line in failure_lines(made):
        warn(line)
    if made.costs is None:
        return
    show(networks_table(made))
    for line in cost_lines(made, made.costs, sweep):
        say(line)
    say(energy_line(made.costs, sweep))
    if short := disk_warning(made.costs):
        say(f"{WARNING}{short}")

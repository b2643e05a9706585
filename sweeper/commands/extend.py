"""`sweeper extend`: a study goes on with an edited search space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import (
    GoesToOption,
    OverridesOption,
    ReportOption,
    StorageOption,
    TrackingNameOption,
    WorkersOption,
    with_tracking_name,
)
from sweeper.commands.running import check_names, run_and_tell
from sweeper.commands.studies import storage_url, this_workspace
from sweeper.commands.terminal import say, warn
from sweeper.safeguards.quantity import quantity

if TYPE_CHECKING:
    from sweeper.search.extension import Extension


def extend(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    space: Annotated[Path, typer.Argument(help="Its search space, edited: the same file or another.")],
    overrides: OverridesOption = None,
    workers: WorkersOption = None,
    with_report: ReportOption = True,
    storage: StorageOption = None,
    tracking_uri: GoesToOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Continue a study with an edited search space: a wider range, another backbone, optimizer, sampler or pruner.

    Trials that the new space holds are carried over with their numbers and count for the sampler; the others stay as
    history, without a rank. `sweeper run` with the new file goes on after an interruption.
    """
    from sweeper.config.loading import load_sweep, naming_lines
    from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
    from sweeper.study.chosen_backbones import extended_to
    from sweeper.study.extending import extend_study
    from sweeper.study.hub_weights import refuse_weights_out_of_reach
    from sweeper.study.single_images import refuse_single_images

    given = with_tracking_name(overrides, tracking_name)
    sweep = load_sweep(space, given, check_names)
    workspace = this_workspace()
    with naming_lines(space, given):
        if sweep.study != study:
            rule = f"should be {study}, the study that goes on, got {sweep.study}; correct it, or --set study={study}"
            raise ConfigError([Problem(IN_SEARCH_SPACE, "study", rule)])
        ranked = sweep.backbone_ranking is not None
        extended, new = extended_to(storage_url(workspace, storage), sweep) if ranked else (sweep, ())
        refuse_weights_out_of_reach(extended, storage_url(workspace, storage))  # before anything is changed
        refuse_single_images(extended)
        found = extend_study(workspace, storage_url(workspace, storage), extended)
        if new:
            say(f"new in the file: {', '.join(new)}; searched as written, without being ranked")
        _say_what_became_of_the_trials(found, study)
        run_and_tell(sweep, workers=workers, storage=storage, tracking_uri=tracking_uri, with_report=with_report)


def _say_what_became_of_the_trials(found: Extension, study: str) -> None:
    if found.aside is None:
        say(f"the search space of {study} has not changed; the study goes on")
        return
    carried = quantity(len(found.carried), "trial")
    say(f"{carried} carried over, {len(found.outside)} kept as history; the study as it was: {found.aside}")
    for number, why in found.outside.items():
        say(f"  trial {number} is history: {why}")
    if found.unconfirmed:
        warn(f"the confirmation of {study} counts no more, since one of its trials is history; confirm it again")

"""`sweeper register`: an export in MLflow's model registry."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.commands.exported_model import exported_model
from sweeper.commands.exporting import say_registered
from sweeper.commands.options import RecordedOption, StorageOption, TrackingNameOption
from sweeper.commands.studies import this_workspace


def register(
    model: Annotated[str, typer.Argument(help="An export's folder, or STUDY or STUDY/NUMBER once exported.")],
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Register an export in MLflow's model registry as the newest version of its study, with the alias `best`.

    `sweeper best --export` does so by itself where MLflow can be reached. The same export again changes nothing.
    """
    from sweeper.finished.register import register_export

    workspace = this_workspace()
    folder = exported_model(workspace, storage, model)
    say_registered(register_export(workspace, folder, tracking_uri, tracking_name))

"""`sweeper doctor`: whether this machine and a study are sound."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.commands.options import AdoptOption, StorageOption, StudyArgument, TrackingOption
from sweeper.commands.studies import has_studies, open_study, storage_url, this_workspace
from sweeper.commands.terminal import show


def doctor(
    study: StudyArgument = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired.")] = False,
    adopt: AdoptOption = False,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Check this machine and whether a study's trials, runs and files agree; exit code 1 when something is wrong."""
    from sweeper.display.tables import findings_table
    from sweeper.tracking.mlflow_store import default_tracking_uri
    from sweeper.upkeep.doctor import examine_study
    from sweeper.upkeep.machine_check import examine_machine

    workspace = this_workspace()
    url = storage_url(workspace, storage)
    findings = examine_machine(workspace, url, tracking_uri or default_tracking_uri(workspace))
    show(findings_table(findings))
    if study or has_studies(workspace, storage):
        name = open_study(workspace, storage, study).sweep.study
        about = examine_study(workspace, url, name, tracking_uri, fix=fix, adopt=adopt)
        show(findings_table(about))
        findings += about
    if not all(finding.sound for finding in findings):
        raise typer.Exit(1)

"""`sweeper sync`: late deliveries to MLflow."""

from __future__ import annotations

from sweeper.commands.options import RecordedOption, StorageOption, StudyArgument, TrackingNameOption
from sweeper.commands.studies import open_study, storage_url, this_workspace
from sweeper.commands.terminal import say
from sweeper.safeguards.quantity import quantity


def sync(
    study: StudyArgument = None,
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
    tracking_name: TrackingNameOption = None,
) -> None:
    """Deliver to MLflow what could not be delivered while the sweep ran."""
    from sweeper.upkeep.sync import sync_study

    workspace = this_workspace()
    name = open_study(workspace, storage, study).sweep.study
    count = sync_study(workspace, storage_url(workspace, storage), name, tracking_uri, tracking_name)
    say(f"study {name}: {quantity(count, 'trial')} sent; MLflow has everything now")

"""`sweeper reproduce`: a trial trained again from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import StorageOption, TrackingOption, finite
from sweeper.commands.studies import open_study, require_records, this_workspace, winner_of
from sweeper.commands.terminal import say, show

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.tracking.mlflow_store import MlflowStore


def reproduce(
    trial: Annotated[str, typer.Argument(help="STUDY/NUMBER, STUDY/best, or the id of an MLflow run.")],
    tolerance: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="How much metrics may differ where not every digit can be the same."),
    ] = 0.01,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train a trial again from what MLflow holds of it alone, and say whether the metrics match; exit code 1 if not.

    On a CPU of the same kind, with the same version of torch, every digit of every epoch must be the same.
    Elsewhere metrics may differ by the tolerance: absolutely, and above 1 relatively.
    """
    import tempfile
    from pathlib import Path

    from sweeper.confirm.reproduction import compare, read_logged, require_same_beginning, train_again, with_beginning
    from sweeper.display.reproduction import reproduction_lines, reproduction_table
    from sweeper.engines.local import LocalEngine
    from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
    from sweeper.upkeep.reproductions import reproduction_folder

    workspace = this_workspace()
    require_records(workspace, tracking_uri)
    store = MlflowStore(tracking_uri or default_tracking_uri(workspace), workspace)
    with tempfile.TemporaryDirectory(prefix="sweeper-reproduce-") as read:
        logged = read_logged(store, _run_id(workspace, store, trial, storage), Path(read))
    logged = with_beginning(logged, workspace)
    require_same_beginning(logged, workspace)
    with reproduction_folder(workspace) as folder:
        engine = LocalEngine(logged.sweep, workspace, 1, folder=folder, threads=logged.threads)
        try:
            found = compare(logged, *train_again(logged, engine))
        finally:
            engine.close()
    if found.deviations:
        show(reproduction_table(found, tolerance))
    for line in reproduction_lines(found, tolerance):
        say(line)
    if not found.matches(tolerance):
        raise typer.Exit(1)


def _run_id(workspace: Workspace, store: MlflowStore, trial: str, storage: str | None) -> str:
    """Return the id of a trial's run: of this folder's study, else of the one named so in MLflow.

    The storage is asked only which trial is best. Raises StudyError where MLflow has no such run.
    """
    from sweeper.errors import StudyError
    from sweeper.standings.trial_names import named_trial, require_run
    from sweeper.study.place import read_identity
    from sweeper.tracking.study_records import Recorded, StudyRecords, named
    from sweeper.tracking.tags import TRIAL_TAG

    name = named_trial(trial)
    if name.run:
        require_run(store, name.run)
        return name.run
    study, number = name.study, name.number
    if number is None:
        number = winner_of(open_study(workspace, storage, study)).number
    known = read_identity(workspace.study(study))
    recorded = named(store, study) if known is None else Recorded(study, known.id, adopted=known.adopted)
    found = StudyRecords(store, recorded).find_run(TRIAL_TAG, str(number))
    if found is None:
        raise StudyError(
            f"MLflow at {store.shown_uri} has no run of trial {number} of {study}; see sweeper status {study}, or name "
            "the run by its id, as `mlflow ui` shows it"
        )
    return found

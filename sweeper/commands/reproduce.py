"""`sweeper reproduce`: a trial trained again from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import TrackingOption
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import say, show

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.tracking.mlflow_store import MlflowStore


def reproduce(
    run: Annotated[str, typer.Argument(help="The id of a trial's run in MLflow, or STUDY/NUMBER.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="What may differ where not every digit can be the same.")
    ] = 0.01,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train a trial again from what MLflow holds of it alone, and say whether the metrics match; exit code 1 if not.

    On a CPU of the same kind, with the same version of torch, every digit of every epoch must be the same.
    Elsewhere metrics may differ by the tolerance: absolutely, and above 1 relatively.
    """
    import tempfile
    from pathlib import Path

    from sweeper.confirm.reproduction import compare, read_logged, require_same_images, train_again, with_beginning
    from sweeper.display.reproduction import reproduction_lines, reproduction_table
    from sweeper.engines.local import LocalEngine
    from sweeper.paths import StudyFolder
    from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri

    workspace = this_workspace()
    workspace.state.mkdir(exist_ok=True)
    store = MlflowStore(tracking_uri or default_tracking_uri(workspace), workspace)
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=workspace.state) as temporary:
        logged = with_beginning(read_logged(store, _run_id(workspace, store, run), Path(temporary)), workspace)
        require_same_images(logged, workspace)
        folder = StudyFolder(Path(temporary) / "study")
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


def _run_id(workspace: Workspace, store: MlflowStore, run: str) -> str:
    """Return a run's id, given as it is or as STUDY/NUMBER: of this folder's study, else of the one named so there.

    Raises StudyError where there is none.
    """
    from sweeper.errors import StudyError
    from sweeper.study.place import read_identity
    from sweeper.tracking.study_records import Recorded, StudyRecords, named
    from sweeper.tracking.tags import TRIAL_TAG

    study, slash, number = run.partition("/")
    if not slash:
        return run
    known = read_identity(workspace.study(study))
    recorded = named(store, study) if known is None else Recorded(study, known.id, adopted=known.adopted)
    found = StudyRecords(store, recorded).find_run(TRIAL_TAG, number)
    if found is None:
        raise StudyError(f"MLflow has no run of {run}; write STUDY/NUMBER, or the id of a run as `mlflow ui` shows it")
    return found

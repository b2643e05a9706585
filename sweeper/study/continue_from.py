"""What a training starts from: weights, perhaps the optimizer's state, and the history up to there, on disk.

Fetched once into the folder of the new study, so that an interrupted one goes on without its source.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.files import write_sealed, write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialStart, write_history
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import TrialArtifacts, fetch_artifacts, find_run
from sweeper.study.continuation import RESIZING, UNFREEZING
from sweeper.study.lineage import Lineage, read_lineage
from sweeper.study.lock import study_lock
from sweeper.study.source import SourceTrial


def fetch_start(
    workspace: Workspace,
    storage_url: str,
    source: SourceTrial,
    study: str,
    *,
    with_optimizer: bool,
    anew: Collection[str] = (),
    tracking_uri: str | None,
) -> None:
    """Bring what `study` starts from into its folder, unless it is there; `anew` as of `set_anew`.

    Raises StudyError when the source kept no such state, StudyLocked while the study is being run.
    """
    folder = workspace.study(study)
    with study_lock(folder, study, which="fetches what it goes on from"):
        if read_lineage(folder) is None:
            store = StudyStore.load(storage_url, source.sweep.study)
            _fetch(workspace, store, source, folder, with_optimizer, anew, tracking_uri)


def _fetch(
    workspace: Workspace,
    store: StudyStore,
    source: SourceTrial,
    folder: StudyFolder,
    with_optimizer: bool,
    anew: Collection[str],
    tracking_uri: str | None,
) -> None:
    shutil.rmtree(folder.start.path, ignore_errors=True)  # what an interrupted fetch has left
    folder.start.path.mkdir(parents=True)
    study, row = source.sweep.study, source.row
    mlflow, run = find_run(workspace, store, row, tracking_uri)
    artifacts = fetch_artifacts(workspace, store, row, folder.start.path / "fetched", tracking_uri)
    write_whole(folder.start.weights, artifacts.weights.read_bytes())
    if with_optimizer:
        write_whole(folder.start.optimizer, _optimizer(source, artifacts).read_bytes())
    history = mlflow.epochs(run)
    write_history(folder.start.history, history)
    shutil.rmtree(folder.start.path / "fetched", ignore_errors=True)
    start = Lineage(
        study=study,
        trial=row.number,
        run_id=run,
        experiment=mlflow.run(run).experiment,
        weights_epoch=source.best_epoch,
        epochs=row.epochs,
        with_optimizer=with_optimizer,
        unfreezing_after=row.epochs if UNFREEZING in anew else source.unfreezing_after,
        resizing=RESIZING in anew,
    )
    write_sealed(folder.start.source, start.model_dump_json())  # last: from here on all is there


def _optimizer(source: SourceTrial, artifacts: TrialArtifacts) -> Path:
    found = artifacts.optimizer
    if found is None:
        raise StudyError(
            f"{source.name} has kept no optimizer state, since `keep_optimizer: true` was not in its search space; "
            "continue without --with-optimizer, with a short scheduler.warmup_epochs perhaps"
        )
    return found


def kept_start(workspace: Workspace, study: StudyFolder) -> TrialStart | None:
    """Return what workers need of a study that continues a trial: its epochs, and the files to start from."""
    start, files = read_lineage(study), study.start
    if start is None:
        return None
    return TrialStart(
        epochs=start.epochs,
        weights=_written(workspace, files.weights),
        optimizer=_written(workspace, files.optimizer) if start.with_optimizer else None,
        unfreezing_after=start.unfreezes_after,
        resizing=start.resizing,
    )


def started_from(workspace: Workspace, sweep: SweepConfig) -> SweepConfig:
    """Return a continuation's sweep with its backbone's weights named, as those of any pretrained backbone are."""
    weights = _written(workspace, workspace.study(sweep.study).start.weights)
    return sweep.model_copy(update={"search": sweep.search.model_copy(update={"pretrained": weights})})


def _written(workspace: Workspace, file: Path) -> str:
    """Write a path as search spaces have it: relative to the working directory, so that the folder may be moved."""
    return str(file.relative_to(workspace.root) if workspace.root == Path.cwd() else file)

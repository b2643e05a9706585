"""`sweeper evaluate`: how good a model is on a split."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.exported_model import is_export
from sweeper.commands.options import DeviceOption, StorageOption, TrackingOption, device_named
from sweeper.commands.studies import open_trial, this_workspace
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json

if TYPE_CHECKING:
    from sweeper.finished.evaluate_autoencoder import QualityReport
    from sweeper.finished.evaluate_classifier import SplitReport
    from sweeper.paths import Workspace


def evaluate(
    model: Annotated[
        str, typer.Argument(help="STUDY or STUDY/best, STUDY/NUMBER, an MLflow run's id, or an export's folder.")
    ],
    split: Annotated[Literal["val", "test"], typer.Option(help="The images to judge it by.")] = "test",
    data: Annotated[
        Path | None, typer.Option(help="Other labelled images, in any layout; without splits all of them are taken.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the files, by default evaluations/MODEL/SPLIT.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON instead of tables.")] = False,
    device: DeviceOption = "auto",
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Score a model on a split: accuracy, macro precision, recall and F1, top-5, loss, and each class.

    An autoencoder is scored by its squared error, PSNR and SSIM.

    For a study's test split, the metrics and files go to the trial's MLflow run, with a count of the looks.
    """
    from sweeper.finished.evaluate import evaluate_trial, evaluation_folder, record_look
    from sweeper.finished.tasks import finished_task
    from sweeper.paths import EvaluationFolder

    workspace = this_workspace()
    _require_free(to)
    if is_export(model):
        _evaluate_export(workspace, Path(model), split, data, to, device, as_json=as_json)
        return
    store, row = open_trial(workspace, storage, model, tracking_uri)
    on = device_named(store.sweep.device if device == "auto" else device)
    task = finished_task(store.sweep)
    with progress_bar("decoding") as progress:
        report = evaluate_trial(
            workspace, store, row, split, task, data=data, device=on, tracking_uri=tracking_uri, progress=progress
        )
    files = report.write(EvaluationFolder(to) if to else evaluation_folder(workspace, store, row, split))
    _show(report, f"{store.sweep.study}/{row.number}", files[0].parent, as_json=as_json)
    if split == "test":
        looks = record_look(workspace, store, report, files, int(time.time() * 1000), tracking_uri)
        warn(f"logged as test/... to the run of trial {row.number}; looks at a test split so far: {looks}")


def _require_free(to: Path | None) -> None:
    """Raise ConfigError, before the long work, where its files would replace what is not ours."""
    from sweeper.finished.evaluation_files import outputs_of
    from sweeper.paths import EvaluationFolder
    from sweeper.safeguards.outputs import require_free

    if to:
        require_free(outputs_of(EvaluationFolder(to)))


def _evaluate_export(
    workspace: Workspace,
    export: Path,
    split: Literal["val", "test"],
    data: Path | None,
    to: Path | None,
    device: str,
    *,
    as_json: bool,
) -> None:
    from sweeper.errors import DatasetError
    from sweeper.finished.evaluate_classifier import evaluate_export
    from sweeper.paths import EvaluationFolder

    if data is None:
        raise DatasetError(f"the export {export} does not know where its images are; name them with --data")
    with progress_bar("decoding") as progress:
        report = evaluate_export(workspace, export, split, data=data, device=device_named(device), progress=progress)
    files = report.write(EvaluationFolder(to) if to else workspace.evaluation(export.resolve().name, split))
    _show(report, f"{export}", files[0].parent, as_json=as_json)


def _show(report: SplitReport | QualityReport, name: str, folder: Path, *, as_json: bool) -> None:
    from sweeper.display.evaluation import tables_of

    if as_json:
        write_json(report.as_json())
        return
    for table in tables_of(report):
        show(table)
    say(f"{name}: {report.images:,} {report.split} images of {report.data}; files in {folder}")

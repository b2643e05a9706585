"""`sweeper evaluate`: how good a model is on a split."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.options import DeviceOption, StorageOption, TrackingOption, device_named
from sweeper.commands.studies import open_study, this_workspace, winner_of
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json

if TYPE_CHECKING:
    from sweeper.finished.evaluate_classifier import SplitReport
    from sweeper.paths import Workspace


def evaluate(
    model: Annotated[str, typer.Argument(help="A study, whose winner is taken, or an export's folder.")],
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

    For a study's test split, the metrics and files go to the winner's MLflow run, with a count of the looks.
    """
    from sweeper.config.task import reconstructs
    from sweeper.display.evaluation import classes_table, scores_table
    from sweeper.finished.evaluate_classifier import record_in_mlflow, write_report
    from sweeper.paths import EvaluationFolder

    workspace = this_workspace()
    _require_free(to)
    if not _is_export(model) and reconstructs(open_study(workspace, storage, model).sweep.task):
        _evaluate_autoencoder(workspace, model, split, data, to, as_json, device, storage, tracking_uri)
        return
    report = _evaluated(workspace, model, split, data, device, storage, tracking_uri)
    name = Path(model).resolve().name if report.trial is None else model
    files = write_report(report, EvaluationFolder(to) if to else workspace.evaluation(name, split))
    if as_json:
        write_json(report.as_json())
    else:
        show(classes_table(report))
        show(scores_table(report))
        say(f"{model}: {report.images:,} {split} images of {report.data}; files in {files[0].parent}")
    if report.trial is not None and split == "test":
        looks = record_in_mlflow(
            workspace, open_study(workspace, storage, model), report, files, int(time.time() * 1000), tracking_uri
        )
        warn(f"logged as test/... to the run of trial {report.trial.number}; looks at a test split so far: {looks}")


def _require_free(to: Path | None) -> None:
    """Raise ConfigError, before the long work, where its files would replace what is not ours."""
    from sweeper.finished.evaluation_files import outputs_of
    from sweeper.paths import EvaluationFolder
    from sweeper.safeguards.outputs import require_free

    if to:
        require_free(outputs_of(EvaluationFolder(to)))


def _is_export(model: str) -> bool:
    return (Path(model) / "config.json").is_file() or "/" in model


def _evaluate_autoencoder(
    workspace: Workspace,
    study: str,
    split: Literal["val", "test"],
    data: Path | None,
    to: Path | None,
    as_json: bool,
    device: str,
    storage: str | None,
    tracking_uri: str | None,
) -> None:
    from sweeper.display.evaluation import quality_table
    from sweeper.errors import DatasetError
    from sweeper.finished.evaluate_autoencoder import evaluate_autoencoder, record_quality, write_quality
    from sweeper.paths import EvaluationFolder

    if data is not None:
        raise DatasetError(
            f"--data names labelled images for a classifier, and {study} is an autoencoder's; leave it out"
        )
    store = open_study(workspace, storage, study)
    on = device_named(store.sweep.device if device == "auto" else device)
    row = winner_of(store)
    with progress_bar("decoding") as progress:
        report = evaluate_autoencoder(
            workspace, store, row, split, device=on, tracking_uri=tracking_uri, progress=progress
        )
    files = write_quality(report, EvaluationFolder(to) if to else workspace.evaluation(study, split))
    if as_json:
        write_json(report.as_json())
    else:
        show(quality_table(report))
        say(f"{study}: {report.images:,} {split} images of {report.data}; files in {files[0].parent}")
    if split == "test":
        looks = record_quality(workspace, store, report, files, int(time.time() * 1000), tracking_uri)
        warn(f"logged as test/... to the run of trial {row.number}; looks at a test split so far: {looks}")


def _evaluated(
    workspace: Workspace,
    model: str,
    split: Literal["val", "test"],
    data: Path | None,
    device: str,
    storage: str | None,
    tracking_uri: str | None,
) -> SplitReport:
    from sweeper.errors import DatasetError
    from sweeper.finished.evaluate_classifier import evaluate_export, evaluate_trial

    with progress_bar("decoding") as progress:
        if _is_export(model):
            if data is None:
                raise DatasetError(f"the export {model} does not know where its images are; name them with --data")
            on = device_named(device)
            return evaluate_export(workspace, Path(model), split, data=data, device=on, progress=progress)
        store = open_study(workspace, storage, model)
        on = device_named(store.sweep.device if device == "auto" else device)
        row = winner_of(store)
        return evaluate_trial(
            workspace, store, row, split, data=data, device=on, tracking_uri=tracking_uri, progress=progress
        )

"""`sweeper evaluate`: how good a model is on a split."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.exported_model import is_export, study_of_export
from sweeper.commands.options import (
    DeviceOfTrial,
    LabelsOption,
    OtherExtension,
    OtherImages,
    OtherLabelColumn,
    OtherPathColumn,
    RecordedOption,
    StorageOption,
    device_for,
    device_named,
    named_data,
)
from sweeper.commands.studies import open_trial, this_workspace
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json
from sweeper.safeguards.printable import one_line

if TYPE_CHECKING:
    from sweeper.finished.evaluate_autoencoder import QualityReport
    from sweeper.finished.evaluate_classifier import SplitReport
    from sweeper.finished.evaluated_images import EvaluatedImages
    from sweeper.finished.named_data import NamedData
    from sweeper.paths import EvaluationFolder, Workspace
    from sweeper.search.study_store import StudyStore

NOT_LOGGED = "not logged to MLflow: these are not the study's own test images"
OF_EXPORT = "not logged to MLflow: an export has no run of its own"


def evaluate(
    model: Annotated[
        str, typer.Argument(help="STUDY or STUDY/best, STUDY/NUMBER, an MLflow run's id, or an export's folder.")
    ],
    split: Annotated[Literal["val", "test"], typer.Option(help="The split to score it on.")] = "test",
    data: Annotated[
        Path | None, typer.Option(help="Other labelled images, in any layout; without splits all of them are taken.")
    ] = None,
    labels: LabelsOption = None,
    path_column: OtherPathColumn = None,
    label_column: OtherLabelColumn = None,
    csv_images: OtherImages = None,
    extension: OtherExtension = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the files, by default evaluations/MODEL/SPLIT, with --data evaluations/MODEL/DATA-SPLIT."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace earlier files even if they were edited since, or are of other images."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON instead of tables.")] = False,
    device: DeviceOfTrial = "auto",
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Score a model on a split: accuracy, macro precision, recall and F1, top-5, loss, and each class.

    An autoencoder is scored by its squared error, PSNR and SSIM.

    For a study's own test split, the metrics and files go to the trial's MLflow run, with a count of the looks. Scores
    on other images are in their files alone.
    """
    from sweeper.paths import EvaluationFolder

    named = named_data(data, labels, path_column, label_column, csv_images, extension)
    workspace, folder = this_workspace(), EvaluationFolder(to) if to else None
    if is_export(model) and Path(model).is_dir():
        if named is None:
            raise _without_images(model)
        folder = folder or workspace.evaluation(Path(model).resolve().name, split, data=data)
        report = _of_export(workspace, Path(model), split, named, folder, device, storage, force=force)
        report.write(folder, force=force)
        _show(report, model, folder.path, as_json=as_json)
        if split == "test":
            warn(OF_EXPORT)
        return
    _evaluate_trial(workspace, model, split, named, folder, device, storage, tracking_uri, as_json=as_json, force=force)


def _evaluate_trial(
    workspace: Workspace,
    model: str,
    split: Literal["val", "test"],
    data: NamedData | None,
    to: EvaluationFolder | None,
    device: str,
    storage: str | None,
    tracking_uri: str | None,
    *,
    as_json: bool,
    force: bool,
) -> None:
    from sweeper.finished.evaluate import evaluate_on, evaluation_folder, images_for_trial
    from sweeper.finished.looks import keep_look
    from sweeper.finished.tasks import finished_task

    store, row = open_trial(workspace, storage, model, tracking_uri)
    on = device_for(device, store.sweep)
    if to or data is None:
        _require_free(to or evaluation_folder(workspace, store, row, split), force=force)
    task = finished_task(store.sweep)
    with progress_bar("decoding") as progress:
        judged = images_for_trial(
            workspace, store, row, split, task, data=data, tracking_uri=tracking_uri, progress=progress
        )
    folder = to or evaluation_folder(workspace, store, row, split, None if judged.own or data is None else data.path)
    _tell_of(judged, store.sweep.study, folder, force=force)
    report = evaluate_on(workspace, store, row, judged, task, device=on, tracking_uri=tracking_uri)
    files, counts = report.write(folder, force=force), split == "test" and judged.own
    if counts:
        keep_look(workspace, store, report, files, int(time.time() * 1000))
    chosen_in = store.sweep.study if judged.own and split == "val" else None
    _show(report, f"{store.sweep.study}/{row.number}", folder.path, as_json=as_json, chosen_in=chosen_in)
    if counts:
        count_look(workspace, store, row.number, tracking_uri)
    elif split == "test":
        warn(NOT_LOGGED)


def count_look(workspace: Workspace, store: StudyStore, trial: int, tracking_uri: str | None) -> None:
    """Count a look at the test split in MLflow, or say what does so later. Raises TrackingRefused."""
    from sweeper.errors import StudyError, TrackingError, TrackingRefused
    from sweeper.finished.looks import count_looks

    try:
        looks = count_looks(workspace, store, trial, tracking_uri)
    except TrackingRefused:
        raise
    except (StudyError, TrackingError) as error:
        own = workspace.study(store.sweep.study).card.exists()
        later = f"`sweeper sync {store.sweep.study}`" if own else "the same command again"
        later = f"this look at the test split is kept here; {later} counts it in MLflow"
        warn(f"{later}: {one_line(str(error))}")
    else:
        warn(f"logged as test/... to the run of trial {trial}; looks at a test split so far: {looks}")


def _of_export(
    workspace: Workspace,
    export: Path,
    split: Literal["val", "test"],
    data: NamedData,
    folder: EvaluationFolder,
    device: str,
    storage: str | None,
    *,
    force: bool,
) -> SplitReport:
    from sweeper.export.load import load_export
    from sweeper.finished.evaluate_classifier import evaluate_export
    from sweeper.finished.evaluated_images import images_for_export

    _require_free(folder, force=force)
    loaded = load_export(export)
    store = study_of_export(workspace, storage, loaded.config)
    with progress_bar("decoding") as progress:
        judged = images_for_export(workspace, loaded.config, store, split, data, progress)
    _tell_of(judged, str(export), folder, force=force)
    return evaluate_export(loaded, str(export), judged, device=device_named(device))


def _without_images(export: str) -> Exception:
    from sweeper.errors import DatasetError

    return DatasetError(f"the export {export} does not know where its images are; name them with --data")


def _require_free(folder: EvaluationFolder, *, force: bool) -> None:
    """Raise ConfigError, before the long work, where its files would replace what is not ours or was edited."""
    from sweeper.finished.evaluation_files import outputs_of
    from sweeper.safeguards.outputs import require_free

    require_free(outputs_of(folder, force=force))


def _tell_of(judged: EvaluatedImages, model: str, folder: EvaluationFolder, *, force: bool) -> None:
    """Say what is to be known of the images. Raises ConfigError where scores would replace those of others."""
    from sweeper.finished.evaluation_files import require_same_subject

    _require_free(folder, force=force)
    require_same_subject(folder, model, judged.split, judged.images.digest, judged.named, force=force)
    for remark in judged.remarks:
        warn(remark)


def _show(
    report: SplitReport | QualityReport, name: str, folder: Path, *, as_json: bool, chosen_in: str | None = None
) -> None:
    from sweeper.display.evaluation import interval_lines, tables_of

    if as_json:
        write_json(report.as_json())
        return
    for table in tables_of(report):
        show(table)
    for line in interval_lines(report, chosen_in):
        say(line)
    say(f"{name}: {report.images:,} {report.split} images of {report.data}; files in {folder}")

"""Commands that use a trained model: `predict` and `evaluate`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.studies import (
    StorageOption,
    TrackingOption,
    has_studies,
    open_study,
    this_workspace,
    winner_of,
)
from sweeper.commands.terminal import progress_bar, say, show, warn, write, write_json

if TYPE_CHECKING:
    import torch

    from sweeper.evaluation import SplitReport
    from sweeper.inference.predict import Prediction
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
PathColumnOption = Annotated[str | None, typer.Option(help="Column of a CSV file with the image's path or name.")]
CsvImagesOption = Annotated[str, typer.Option(help="Folder of the images of a CSV file, relative to the file.")]
ExtensionOption = Annotated[str, typer.Option(help="Appended to the names in a CSV file, such as .jpg.")]


def predict(
    model: Annotated[str, typer.Argument(help="An export's folder, or a study whose winner has been exported.")],
    images: Annotated[list[str], typer.Argument(help="Folders, patterns, CSV files or single files.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table here instead of to standard output.")] = None,
    sort_into: Annotated[
        Path | None, typer.Option(help="Copy every image into a folder of its class in here; overwrites nothing.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes are given for an image.")] = 1,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once, by default as in training.")] = None,
    device: DeviceOption = "auto",
    path_column: PathColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
    storage: StorageOption = None,
) -> None:
    """Label images with an export: a table of path, class and probability; a bad image is a row with its reason.

    Exit 3 where none could be labelled.
    """
    from sweeper.config.dataset import CsvConfig
    from sweeper.errors import DatasetError
    from sweeper.inference.inputs import find_inputs
    from sweeper.inference.load import load_export
    from sweeper.inference.predict import predict_images
    from sweeper.inference.predictions_csv import PREDICTIONS, predictions_csv
    from sweeper.outputs import Output

    output = Output(csv, PREDICTIONS, "--csv", tuple(map(Path, images))) if csv else None
    if output:
        output.require_free()
    folder = exported_model(this_workspace(), storage, model)
    inputs = find_inputs(images, CsvConfig(path_column=path_column, images=csv_images, extension=extension))
    export = load_export(folder)
    size = batch_size or export.config.batch_size
    stream = predict_images(export, inputs.images, top=top, batch_size=size, device=device_named(device))
    with progress_bar("labelling") as progress:
        predictions = []
        for prediction in _copied(stream, sort_into):
            predictions.append(prediction)
            progress(len(predictions), len(inputs.images))
    table = predictions_csv(predictions, top)
    if output:
        output.write(table)
    else:
        write(table)
    _say_what_was_labelled(predictions, inputs.others, csv, sort_into)
    if not any(prediction.classes for prediction in predictions):
        raise typer.Exit(DatasetError.exit_code)


def _copied(predictions: Iterable[Prediction], sort_into: Path | None) -> Iterator[Prediction]:
    """Pass predictions on, each image copied where that is asked for."""
    from sweeper.inference.sorting import SortedCopies

    copies = SortedCopies(sort_into) if sort_into else None
    for prediction in predictions:
        if copies:
            copies.add(prediction)
        yield prediction


def _say_what_was_labelled(
    predictions: list[Prediction], others: Mapping[str, int], csv: Path | None, sort_into: Path | None
) -> None:
    from sweeper.data.scan import counted

    labelled = sum(bool(prediction.classes) for prediction in predictions)
    places = [f"table in {csv}"] * bool(csv) + [f"copies in {sort_into}"] * bool(sort_into)
    bad = len(predictions) - labelled
    told = [f"{labelled:,} images labelled", *([f"{bad:,} unreadable, see the column reason"] if bad else []), *places]
    told += [f"{sum(others.values()):,} files left out, no images that are read: {counted(others)}"] * bool(others)
    warn("; ".join(told))


def device_named(name: str) -> torch.device:
    """Return a device. Raises ConfigError when this machine has none of that name."""
    from sweeper.errors import ConfigError, DeviceError, Problem
    from sweeper.training.device import open_device

    try:
        return open_device(name, 0)
    except (DeviceError, ValueError, RuntimeError) as error:
        raise ConfigError([Problem("--device", "", str(error).splitlines()[0])]) from error


def exported_model(workspace: Workspace, storage: str | None, model: str) -> Path:
    """Return the folder of an export, given by its path or as the name of a study.

    Raises StudyError when the study's winner has not been exported, or another trial has won since.
    """
    from sweeper.errors import StudyError

    if (Path(model) / "config.json").is_file() or "/" in model:
        return Path(model)
    folder = workspace.export(model)
    if not (folder / "config.json").is_file():
        _require_a_winner(workspace, storage, model)
        raise StudyError(
            f"{model} is no folder of an export, and there is none in {folder}; if it is a study: "
            f"sweeper best {model} --export"
        )
    if has_studies(workspace, storage):
        _require_winner(workspace, storage, model, folder)
    return folder


def _require_a_winner(workspace: Workspace, storage: str | None, study: str) -> None:
    """Raise NoWinner where this is a study of which no trial has finished."""
    from sweeper.errors import StudyNotFound
    from sweeper.study.winner import winner_of

    try:
        store = open_study(workspace, storage, study)
    except StudyNotFound:
        return
    winner_of(store)


def _require_winner(workspace: Workspace, storage: str | None, study: str, folder: Path) -> None:
    from sweeper.errors import StudyError, StudyNotFound
    from sweeper.inference.export_config import read_config

    try:
        store = open_study(workspace, storage, study)
        best = winner_of(store)
    except StudyNotFound:
        return  # the export of a study that ran elsewhere
    exported = read_config(folder / "config.json").lineage.trial
    if best.number != exported and exported not in _taken_as_well(store):
        raise StudyError(
            f"{folder} holds trial {exported}, and trial {best.number} of {study} is best now: "
            f"sweeper best {study} --export. To use the old one, name its folder"
        )


def _taken_as_well(store: StudyStore) -> frozenset[int]:
    """Return the trials that `sweeper best --prefer` may have exported, of several objectives."""
    from sweeper.study.pareto import pareto_front

    return pareto_front(store.rows(), store.sweep.objectives) if store.sweep.objectives else frozenset()


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
    from sweeper.evaluation import record_in_mlflow, write_report
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
    from sweeper.evaluation_files import outputs_of
    from sweeper.outputs import require_free
    from sweeper.paths import EvaluationFolder

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
    from sweeper.paths import EvaluationFolder
    from sweeper.reconstruction_report import evaluate_autoencoder, record_quality, write_quality

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
    from sweeper.evaluation import evaluate_export, evaluate_trial

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

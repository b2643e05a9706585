"""`sweeper predict`: labels for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.exported_model import exported_model
from sweeper.commands.options import (
    CsvImagesOption,
    DeviceOption,
    ExtensionOption,
    ForceOption,
    PathColumnOption,
    StorageOption,
    device_named,
)
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import progress_bar, warn, write
from sweeper.safeguards.quantity import quantity

if TYPE_CHECKING:
    from sweeper.predict.predict import Prediction


def predict(
    model: Annotated[str, typer.Argument(help="An export's folder, or STUDY or STUDY/NUMBER once exported.")],
    images: Annotated[list[str], typer.Argument(help="Folders, patterns, CSV files or single files.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table here instead of to standard output.")] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(help="Copy every image into a folder of its class below this one; overwrites nothing."),
    ] = None,
    force: ForceOption = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes are given for an image.")] = 1,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once, by default as in training.")] = None,
    device: DeviceOption = "auto",
    path_column: PathColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
    storage: StorageOption = None,
) -> None:
    """Label images with an export: a table of path, class and probability; a bad image is a row with its reason.

    Exit code 3 where none could be labelled.
    """
    from sweeper.config.dataset import CsvConfig
    from sweeper.errors import DatasetError, DiskError
    from sweeper.export.load import load_export
    from sweeper.predict.inputs import find_inputs
    from sweeper.predict.predict import predict_images
    from sweeper.predict.predictions_csv import PREDICTIONS, predictions_csv
    from sweeper.safeguards.outputs import Output

    output = Output(csv, PREDICTIONS, "--csv", tuple(map(Path, images)), force) if csv else None
    if output:
        output.require_free()
    listed = CsvConfig(path_column=path_column, images=csv_images, extension=extension)
    if listed != CsvConfig():
        _require_a_list(images)
    folder = exported_model(this_workspace(), storage, model)
    inputs = find_inputs(images, listed)
    export = load_export(folder)
    size = batch_size or export.config.batch_size
    stream = predict_images(export, inputs.images, top=top, batch_size=size, device=device_named(device))
    with progress_bar("labelling") as progress:
        predictions = []
        try:
            for prediction in _copied(stream, sort_into):
                predictions.append(prediction)
                progress(len(predictions), len(inputs.images))
        except DiskError:
            if output and predictions:
                output.write(predictions_csv(predictions, top))
                warn(f"the table of the {quantity(len(predictions), 'image')} before is in {csv}")
            raise
    table = predictions_csv(predictions, top)
    if output:
        output.write(table)
    else:
        write(table)
    _say_what_was_labelled(predictions, inputs.others, csv, sort_into)
    if not any(prediction.classes for prediction in predictions):
        raise typer.Exit(DatasetError.exit_code)


def _require_a_list(images: Sequence[str]) -> None:
    """Raise ConfigError for options of a CSV file where none is named."""
    from sweeper.errors import ConfigError, Problem

    if not any(Path(name).suffix.lower() == ".csv" for name in images):
        rule = f"describe a CSV file, and {' and '.join(images)} is none; leave them out, or name one"
        raise ConfigError([Problem("--path-column, --csv-images and --extension", "", rule)])


def _copied(predictions: Iterable[Prediction], sort_into: Path | None) -> Iterator[Prediction]:
    """Pass predictions on, each image copied where that is asked for."""
    from sweeper.predict.sorting import SortedCopies

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
    told = [
        f"{quantity(labelled, 'image')} labelled",
        *([f"{bad:,} unreadable, see the column reason"] if bad else []),
        *places,
    ]
    told += [f"{quantity(sum(others.values()), 'other file')} left out: {counted(others)}"] * bool(others)
    warn("; ".join(told))

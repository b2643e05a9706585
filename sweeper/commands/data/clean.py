"""`sweeper data clean`: images that lie apart from the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.data.layout import csv_config
from sweeper.commands.data.suspects import suspect_outputs, write_suspects
from sweeper.commands.options import (
    CsvImagesOption,
    DeviceOption,
    ExtensionOption,
    ForceOption,
    LabelColumnOption,
    PathColumnOption,
    SplitColumnOption,
)
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import progress_bar, say, warn
from sweeper.safeguards.quantity import quantity

if TYPE_CHECKING:
    from sweeper.data.notes import Notes


def clean(
    data: Annotated[Path, typer.Argument(help="Class folders, a CSV file, or a search space with its splits.")],
    backbone: Annotated[str, typer.Option(help="A timm architecture whose features are compared.")],
    weights: Annotated[Path | None, typer.Option(help="Its pretrained weights: safetensors or a checkpoint.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Take the weights from the model hub.")] = False,
    method: Annotated[
        Literal["knn", "isolation_forest", "dbscan", "out_of_fold"],
        typer.Option(help="How outliers are found; out_of_fold looks for wrong labels."),
    ] = "knn",
    share: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the images that is listed.")] = 0.05,
    val: Annotated[bool, typer.Option("--val", help="Look at the validation images too.")] = False,
    csv: Annotated[Path, typer.Option(help="The list to write.")] = Path("outliers.csv"),
    sheet: Annotated[Path, typer.Option(help="The contact sheet of the first 200 to write.")] = Path("outliers.png"),
    force: ForceOption = False,
    image_size: Annotated[int, typer.Option(min=8, help="Side in pixels that the backbone gets.")] = 224,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the isolation forest and of the folds.")] = 0,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """List training images that do not look like their class, worst first, with a picture of them; deletes nothing.

    Look at the pictures. Remove from the list the images whose label is right, and name the list as `dataset.exclude`
    in a search space.
    """
    from sweeper.commands.options import device_named
    from sweeper.curation.clean import find_suspects
    from sweeper.curation.features import image_features
    from sweeper.curation.image_list import WHOLE, dataset_of, read_image_list
    from sweeper.data.decode import OWN_DEPTH
    from sweeper.data.prepare import given_depth

    options = csv_config(path_column, label_column, split_column, csv_images, extension)
    dataset = dataset_of(data, options)
    outputs = suspect_outputs(csv, sheet, dataset, data, force=force)
    known = _known_weights(backbone, weights, pretrained)
    images = read_image_list(data, options, this_workspace()).of_splits(["train", WHOLE, *(["val"] if val else [])])
    files = [images.file(row) for row in range(len(images))]
    with progress_bar("features") as progress, _told_by_options(weights):
        found = image_features(
            files,
            backbone=backbone,
            pretrained=known,
            image_size=image_size,
            resize=dataset.resize,
            depth=given_depth(dataset) or OWN_DEPTH,
            batch_size=batch_size,
            device=device_named(device),
            progress=progress,
        )
    suspects = find_suspects(images, found.rows.tolist(), found.values, method, share, seed)
    write_suspects(outputs, images, suspects)
    _say_left_out(images.notes, len(found.bad))
    say(f"{len(suspects):,} of {len(images):,} images listed in {csv}; the first are shown in {sheet}")
    _say_what_next(csv)


@contextmanager
def _told_by_options(weights: Path | None) -> Iterator[None]:
    """Raise ConfigError, with the options, where the network that they name cannot be built."""
    from sweeper.errors import ConfigError, ModelError, Problem

    try:
        yield
    except ModelError as error:
        source = "--weights" if weights else "--pretrained"
        raise ConfigError([Problem(f"--backbone, {source} and --image-size", "", str(error))]) from error


def _say_what_next(csv: Path) -> None:
    from sweeper.config.document import written

    say("next: look at the pictures, and remove from the list the images whose label is right")
    say(f"then, in a search space: dataset: {{exclude: {written(str(csv))}}}")


def _say_left_out(notes: Notes, unreadable: int) -> None:
    """Say what the list says nothing of."""
    from sweeper.data.scan import counted

    if notes.skipped:
        warn(f"rows without a label left out: {counted(notes.skipped)}")
    if bad := unreadable + len(notes.absent):
        warn(f"{quantity(bad, 'unreadable or missing image')} left out; sweeper data check tells which")


def _known_weights(backbone: str, weights: Path | None, pretrained: bool) -> bool | str:
    """Return what a search space has under `pretrained`. Raises ConfigError for names that stand for nothing."""
    from sweeper.errors import ConfigError, Problem
    from sweeper.modeling.registry import check_names

    if pretrained == (weights is not None):
        rule = "features need trained weights: name a file with --weights, or take the model hub's with --pretrained"
        raise ConfigError([Problem("--weights, --pretrained", "", rule)])
    known = [("--weights", str(weights))] if weights else []
    problems = check_names([("--backbone", backbone)], [], [], known)
    if problems:
        raise ConfigError([Problem(key, "", message) for key, message in problems])
    return str(weights) if weights else True

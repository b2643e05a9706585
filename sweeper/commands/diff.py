"""`sweeper diff`: two models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.evaluate import count_look
from sweeper.commands.options import (
    DeviceOfTrial,
    ForceOption,
    LabelsOption,
    OtherExtension,
    OtherImages,
    OtherLabelColumn,
    OtherPathColumn,
    RecordedOption,
    StorageOption,
    device_named,
    named_data,
)
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import say, show, waiting, warn

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.report.compared_model import SideFinder
    from sweeper.report.difference import Difference


NAMED_IMAGES = 8


def diff(
    a: Annotated[
        str, typer.Argument(help="STUDY or STUDY/best, STUDY/NUMBER, an MLflow run's id, or an export's folder.")
    ],
    b: Annotated[str, typer.Argument(help="What A is compared with, named in the same way.")],
    page: Annotated[Path | None, typer.Option(help="Write the difference as one HTML file, with pictures.")] = None,
    force: ForceOption = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images to evaluate both on, in place of the validation predictions that were kept."
        ),
    ] = None,
    split: Annotated[
        Literal["val", "test"] | None,
        typer.Option(help="The split of these images, where they have any; by default val.", show_default=False),
    ] = None,
    labels: LabelsOption = None,
    path_column: OtherPathColumn = None,
    label_column: OtherLabelColumn = None,
    csv_images: OtherImages = None,
    extension: OtherExtension = None,
    device: DeviceOfTrial = "auto",
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Compare two models: parameters, scores, curves, classes, confusions, and image by image with McNemar's test."""
    from sweeper.display.difference import verdict
    from sweeper.report.compared_model import SideFinder
    from sweeper.report.difference import difference
    from sweeper.report.difference_page import difference_page
    from sweeper.safeguards.outputs import PAGE, Output

    _require_images_of(split, device, data)
    workspace, named = this_workspace(), named_data(data, labels, path_column, label_column, csv_images, extension)
    output = Output(page, PAGE, "--page", force=force) if page else None
    if output:
        output.require_free()
    finder = SideFinder(
        workspace, lambda name: open_study(workspace, storage, name), tracking_uri, named, split or "val", device
    )
    with waiting("reading both"):
        sides = finder.find(a), finder.find(b)
        for side in sides:
            side.require_results()
        finder.keep_looks()
        found = difference(*sides)
    say(f"A: {found.a.name}\nB: {found.b.name}")
    _show(found)
    if found.paired is None:
        warn(f"not compared image by image: {found.why_not}")
    else:
        say(verdict(found.paired))
        _name_images(workspace, found)
    if output:
        output.write(difference_page(workspace, found))
        say(f"page: {page}")
    _count_looks(workspace, finder, tracking_uri)


def _require_images_of(split: str | None, device: str, data: Path | None) -> None:
    """Raise ConfigError for a split of no images, and for a device where nothing is computed, or that is not here."""
    from sweeper.errors import ConfigError, Problem

    if split is not None and data is None:
        rule = f"chooses a split of --data, which is missing; add it, or remove --split {split} to compare on the"
        raise ConfigError([Problem("--split", "", f"{rule} study's validation images")])
    if device != "auto" and data is None:
        rule = f"evaluates on --data, which is missing; add it, or remove --device {device} to compare what was kept"
        raise ConfigError([Problem("--device", "", rule)])
    if device != "auto":
        device_named(device)


def _show(found: Difference) -> None:
    """Show what is to be known of both, and the tables."""
    from sweeper.display.difference import difference_tables

    for letter, side in (("A", found.a), ("B", found.b)):
        for remark in side.remarks:
            warn(f"{letter}: {remark}")
    for table in difference_tables(found):
        show(table)


def _count_looks(workspace: Workspace, finder: SideFinder, tracking_uri: str | None) -> None:
    """Count in MLflow what was evaluated on a study's own test images. Raises TrackingRefused."""
    for store, report in finder.looks:
        if report.trial is not None:
            count_look(workspace, store, report.trial.number, tracking_uri)


def _name_images(workspace: Workspace, found: Difference) -> None:
    """Name the first images that changed."""
    from sweeper.report.pictures import find_files
    from sweeper.safeguards.printable import one_line

    paired, dataset = found.paired, found.a.dataset
    if paired is None or dataset is None:
        return
    paths = find_files(dataset, workspace, paired.a.images).paths
    for title, images in (("newly right", paired.newly_right), ("newly wrong", paired.newly_wrong)):
        names = [one_line(paths[image]) for image in images[:NAMED_IMAGES].tolist() if paths[image]]
        if names:
            more = f" and {len(images) - len(names):,} more" if len(images) > len(names) else ""
            say(f"{title} in B: {', '.join(names)}{more}")

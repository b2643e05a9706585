"""`sweeper data check`: what is odd about a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.commands.data.layout import csv_config
from sweeper.commands.options import (
    CsvImagesOption,
    ExtensionOption,
    ForceOption,
    LabelColumnOption,
    PathColumnOption,
    SplitColumnOption,
)
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json


def check(
    data: Annotated[Path, typer.Argument(help="Class folders, a CSV file, or a search space with its splits.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead of a table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures of the copies here.")] = None,
    force: ForceOption = False,
    near_bits: Annotated[
        int,
        typer.Option(min=0, max=15, help="How many of the 63 bits of the image hash may differ between near copies."),
    ] = 9,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """Find copies within and across splits and classes, unreadable files, odd sizes, imbalance, missing classes.

    Exit code 1 when something makes training or scores unreliable: unreadable or missing files, copies across splits,
    one picture with two labels, a class that a split lacks, classes that look alike, rows without a label.
    """
    from sweeper.curation.check import check as check_images
    from sweeper.curation.image_list import read_image_list
    from sweeper.curation.page import html_page
    from sweeper.display.check import check_table, examples
    from sweeper.safeguards.outputs import PAGE, Output

    output = Output(html, PAGE, "--html", (data,), force) if html else None
    if output:
        output.require_free()
    csv = csv_config(path_column, label_column, split_column, csv_images, extension)
    images = read_image_list(data, csv, this_workspace())
    with progress_bar("looking at images") as progress:
        report = check_images(images, near_bits, progress)
    if as_json:
        write_json(report.as_json())
    else:
        show(check_table(report))
        for paragraph in examples(report):
            say(paragraph)
    if output:
        output.write(html_page(report).encode(errors="backslashreplace"))
        warn(f"page with pictures: {html}")
    if report.serious:
        raise typer.Exit(1)

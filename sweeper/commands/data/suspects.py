"""The files of `data clean` and `data label-errors`: a list, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.commands.studies import this_workspace

if TYPE_CHECKING:
    from sweeper.config.dataset import DatasetConfig
    from sweeper.curation.clean import Suspect
    from sweeper.curation.image_list import ImageList
    from sweeper.safeguards.outputs import Output


SHEET_IMAGES = 200


def suspect_outputs(
    csv: Path, sheet: Path, dataset: DatasetConfig, *inputs: Path, force: bool
) -> tuple[Output, Output]:
    """Return where a list of images and their pictures go.

    Raises ConfigError where one of them would replace what is not ours or was edited, or what is read.
    """
    from sweeper.curation.clean import SUSPECTS
    from sweeper.data.index import lists_of
    from sweeper.errors import ConfigError, Problem
    from sweeper.safeguards.outputs import PICTURE, Output, require_free

    if csv.absolute() == sheet.absolute():
        raise ConfigError([Problem("--csv and --sheet", "", f"should be two files, got {csv} for both")])
    read = (*inputs, *lists_of(dataset, this_workspace()))
    outputs = Output(csv, SUSPECTS, "--csv", read, force), Output(sheet, PICTURE, "--sheet", read, force)
    require_free(outputs)
    return outputs


def write_suspects(outputs: tuple[Output, Output], images: ImageList, suspects: Sequence[Suspect]) -> None:
    from sweeper.curation.clean import suspects_csv, suspects_sheet

    table, sheet = outputs
    table.write(suspects_csv(suspects))
    sheet.write(suspects_sheet(images, suspects[:SHEET_IMAGES]))

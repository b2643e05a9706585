"""How a CSV file is laid out, as the options of the commands say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.config.dataset import CsvConfig

NO_COLUMN = "false"
"""As a search space says that no column holds the splits."""


def csv_config(
    path_column: str | None, label_column: str | None, split_column: str | None, images: str, extension: str
) -> CsvConfig:
    """Return what the options say, as a search space has it."""
    from sweeper.config.dataset import CsvConfig

    split = False if split_column == NO_COLUMN else split_column
    columns = {"path_column": path_column, "label_column": label_column, "split_column": split}
    return CsvConfig.model_validate({**columns, "images": images, "extension": extension})

"""Labelled images that are named to judge a model by, beside those of its study, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.data.csv_layout import fitting_settings, is_csv

Labels = Literal["as_written", "normalize"]


@dataclass(frozen=True)
class NamedData:
    """A folder or a CSV file.

    Attributes:
        path: Where it is.
        labels: How its labels are read; None: as those of the study.
        csv: Keys of `CsvConfig` and their values. The others are those of the study, as far as the file has them.
    """

    path: Path
    labels: Labels | None = None
    csv: Mapping[str, str] = field(default_factory=dict)

    def dataset(self, study: CsvConfig | None = None, **chosen: Any) -> DatasetConfig:
        """Return these images as a data set, with what is `chosen` of a model's own.

        Args:
            study: How the study's own CSV file is laid out, where it is known.
            chosen: Keys of `DatasetConfig`.

        Raises DatasetError where a CSV file cannot be read.
        """
        like = fitting_settings(self.path, study) if study is not None and is_csv(self.path) else CsvConfig()
        csv = like.model_copy(update=dict(self.csv))
        labels = {"labels": self.labels} if self.labels else {}
        return DatasetConfig.model_validate({"path": str(self.path), **chosen, **labels, "csv": csv.model_dump()})

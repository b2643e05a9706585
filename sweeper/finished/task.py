"""What is done with a finished trial: the one thing in which trials of different tasks differ for this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.task import TaskConfig
from sweeper.data.listing import Split
from sweeper.paths import EvaluationFolder
from sweeper.results import TrialRow

if TYPE_CHECKING:
    import torch

    from sweeper.data.image_set import ImageSet
    from sweeper.export.export_input import ExportInput, MergeKind
    from sweeper.export.merge import Contender
    from sweeper.export.quantize import VariantKind

SOME = 2048
"""Training images that are enough to find ranges of activations, and batch statistics, by."""


@dataclass(frozen=True)
class Extras:
    """What an export holds beside the winner in full precision."""

    variants: tuple[VariantKind, ...] = ()
    tolerance: float = 0.01
    """Most accuracy that a variant may lose."""
    merges: tuple[MergeKind, ...] = ()
    others: tuple[TrialRow, ...] = ()
    """The trials behind the winner, best first, that may be merged with it."""

    @property
    def wanted(self) -> bool:
        return bool(self.variants or self.merges)


NOTHING_MORE = Extras()


@dataclass(frozen=True)
class ExportJob:
    """A trial to export, its images, and where to; `leaders` loads it and the trials behind it, to be merged."""

    source: ExportInput
    images: ImageSet
    device: torch.device
    destination: Path
    extras: Extras
    leaders: Callable[[], Sequence[Contender]]
    scratch: Path
    """A folder for files that are needed meanwhile."""


@dataclass(frozen=True)
class EvaluationJob:
    """A trial to evaluate, the file of its weights, and the images."""

    study: str
    task: TaskConfig
    row: TrialRow
    config: TrialConfig
    weights: Path
    images: ImageSet
    split: Split
    data: str
    """What the images are called."""
    device: torch.device


class Report(Protocol):
    """What a model is worth on a split."""

    @property
    def split(self) -> Split: ...

    @property
    def data(self) -> str:
        """What the images are called."""

    @property
    def digest(self) -> str:
        """Of the images."""

    @property
    def images(self) -> int:
        """How many there are."""

    @property
    def trial(self) -> TrialRow | None:
        """None for an export."""

    @property
    def model(self) -> str:
        """The study's name, or the folder of the export."""

    @property
    def values(self) -> dict[str, float]:
        """The metrics, without the name of the split."""

    def as_json(self) -> dict[str, Any]:
        """Return all numbers in plain values."""

    def write(self, files: EvaluationFolder) -> list[Path]:
        """Write what there is to look at, and all numbers as JSON. Raises ConfigError for a file that is not ours."""


Evaluated = TypeVar("Evaluated", bound=Report, covariant=True)
Exported = TypeVar("Exported", covariant=True)


class FinishedTask(Protocol[Evaluated, Exported]):
    """How the finished trials of a task are evaluated and exported, and what can be asked for beside that."""

    name: str
    takes_other_images: bool
    """Labelled images from elsewhere can be evaluated (`--data`)."""
    takes_extras: bool
    """An export may hold smaller files, a soup or an ensemble."""
    registered: bool
    """An export is put into the model registry."""

    def evaluate(self, job: EvaluationJob) -> Evaluated:
        """Evaluate a trial as it was validated: the same batches, the same precision."""

    def export(self, job: ExportJob) -> Exported:
        """Write an export and verify it on the validation split. Raises ExportError where it gives other results."""

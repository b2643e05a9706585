"""Where a continuation comes from: the trial whose weights it started with, as its runs record it."""

from __future__ import annotations

from pydantic import Field

from sweeper.config.frozen import Frozen
from sweeper.files import read_parsed
from sweeper.paths import StudyFolder
from sweeper.results import PinnedTeacher
from sweeper.tracking.tags import NOTE_TAG, SOURCE_TAGS


class Lineage(Frozen):
    """The trial that a study goes on from, and which of its epochs: its weights are of one, its history of all."""

    study: str
    trial: int
    run_id: str
    experiment: str
    weights_epoch: int
    epochs: int
    with_optimizer: bool
    unfreezing_after: int | None = None
    """The epoch after which `unfreezing` counts its own; `epochs` where it is not noted."""
    resizing: bool = True
    """Whether `progressive_resizing` begins again with it."""
    teachers: dict[str, PinnedTeacher] = Field({})
    """What the name of its teacher stands for, if it has one."""

    @property
    def unfreezes_after(self) -> int:
        return self.epochs if self.unfreezing_after is None else self.unfreezing_after

    def tags(self) -> dict[str, str]:
        """Return the lineage as MLflow's tags; the note is what its page shows, with a link."""
        page = f"#/experiments/{self.experiment}/runs/{self.run_id}"
        state = "weights and optimizer" if self.with_optimizer else "weights"
        return {
            f"{SOURCE_TAGS}run": self.run_id,
            f"{SOURCE_TAGS}trial": f"{self.study}/{self.trial}",
            f"{SOURCE_TAGS}epoch": str(self.weights_epoch),
            f"{SOURCE_TAGS}state": state,
            NOTE_TAG: f"Goes on from [trial {self.trial} of {self.study}]({page}): its {state} of epoch "
            f"{self.weights_epoch}. Epochs 1 to {self.epochs} are its history.",
        }


def read_lineage(folder: StudyFolder) -> Lineage | None:
    """Return what a study goes on from; None for one that starts afresh, or was run elsewhere."""
    source = folder.start.source
    return read_parsed(source, Lineage.model_validate_json) if source.exists() else None

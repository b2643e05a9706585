"""The files of one trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONFIG = "config.yaml"
FOLD = "fold-"
BEST_CONFUSION = "best.csv"
"""The confusion matrix of the best epoch."""


@dataclass(frozen=True)
class TrialFolder:
    """One trial's files: begun by the driver, filled by a worker, delivered to MLflow, then removed."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name.removeprefix("trial-"))

    @property
    def delivered(self) -> Path:
        """The folder's name while it is being removed, so that half of it is not taken for the whole."""
        return self.path.with_name(f"delivered-{self.number:04d}")

    @property
    def lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def spec(self) -> Path:
        """Number, seed and hyperparameters."""
        return self.path / "spec.json"

    @property
    def checkpoint(self) -> Path:
        """Everything needed to go on after the last finished epoch."""
        return self.path / "checkpoint.pt"

    @property
    def checkpoint_before(self) -> Path:
        """The checkpoint of the epoch before, should the last one be damaged."""
        return self.path / "checkpoint-before.pt"

    @property
    def leading(self) -> Path:
        """The weights of the best epochs so far, where they are averaged at the end of the trial."""
        return self.path / "leading"

    def leading_of(self, epoch: int) -> Path:
        return self.leading / f"epoch-{epoch:04d}.weights"

    def to_go_on(self) -> list[Path]:
        """Return what a trial goes on from, and what one that has ended needs no more."""
        return [self.checkpoint, self.checkpoint_before, *self.leading.glob("epoch-*")]

    def remove_to_go_on(self) -> None:
        """Remove what one that has ended needs no more."""
        for file in self.to_go_on():
            file.unlink(missing_ok=True)

    @property
    def history(self) -> Path:
        """The metrics of every finished epoch."""
        return self.path / "history.json"

    @property
    def outcome(self) -> Path:
        """How the trial ended; absent while it is unfinished."""
        return self.path / "outcome.json"

    @property
    def run(self) -> Path:
        """The MLflow run this trial is recorded in, and what has been delivered to it."""
        return self.path / "run.json"

    def fold(self, number: int) -> TrialFolder:
        """One training of a cross-validated trial, by the fold that it is judged by, from 1."""
        return TrialFolder(self.path / f"{FOLD}{number}")

    def folds(self) -> list[tuple[int, TrialFolder]]:
        """Return the folds that have begun, by their numbers."""
        found = (int(path.name.removeprefix(FOLD)) for path in self.path.glob(f"{FOLD}*"))
        return [(number, self.fold(number)) for number in sorted(found)]

    @property
    def refit(self) -> TrialFolder:
        """The training of a cross-validated trial on all folds."""
        return TrialFolder(self.path / "refit")

    @property
    def artifacts(self) -> Path:
        """Laid out as in the MLflow run."""
        return self.path / "artifacts"

    @property
    def config(self) -> Path:
        """The hyperparameters, as the `search` section of a search space."""
        return self.artifacts / CONFIG

    @property
    def curves(self) -> Path:
        """A picture of the losses and metrics by epoch."""
        return self.artifacts / "curves.png"

    def grid_picture(self, name: str, timestamp_ms: int) -> tuple[Path, Path]:
        """Return a picture that MLflow's page shows in a grid, and a small one of it, by the names it looks for."""
        stem = f"{name}+step+0+timestamp+{timestamp_ms}+{self.number}"
        folder = self.artifacts / "images"
        return folder / f"{stem}.png", folder / f"{stem}+compressed.webp"

    @property
    def weights(self) -> Path:
        return self.artifacts / "weights"

    def weights_of(self, epoch: int) -> Path:
        return self.weights / f"epoch-{epoch:04d}.safetensors"

    def optimizer_of(self, epoch: int) -> Path:
        """The optimizer's state beside those weights, where it is kept."""
        return self.weights / f"epoch-{epoch:04d}.optimizer.pt"

    @property
    def predictions(self) -> Path:
        return self.artifacts / "predictions"

    @property
    def right(self) -> Path:
        """For which validation images the prediction of each epoch is right."""
        return self.artifacts / "right_by_epoch.npz"

    def predictions_of(self, epoch: int) -> Path:
        """What the model says about every validation image after an epoch."""
        return self.predictions / f"epoch-{epoch:04d}.npz"

    @property
    def confusion(self) -> Path:
        return self.artifacts / "confusion"

    @property
    def reconstructions(self) -> Path:
        """Pictures of validation images above what an autoencoder makes of them."""
        return self.artifacts / "reconstructions"

"""A checkpoint to continue from, and the best weights so far. Each file appears whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sweeper.errors import TrialError
from sweeper.files import whole_file, write_whole
from sweeper.paths import TrialFolder
from sweeper.predictions import Predictions, write_predictions
from sweeper.results import EpochMetrics
from sweeper.training.progress import Progress


@dataclass(frozen=True)
class Record:
    """What a finished epoch leaves in the folder of its trial.

    `state` waits for a learner's state to be on the host. Of an epoch that is the best so far, `weights` and
    `optimizer` tell whether these are kept beside the checkpoint, and `predictions` are what it says about the
    validation images.
    """

    state: Callable[[], dict[str, Any]]
    progress: Progress
    weights: bool = False
    optimizer: bool = False
    predictions: Predictions | None = None

    def write(self, folder: TrialFolder) -> None:
        """Write all of it: the checkpoint after the files that belong to it, then the history beside it.

        The order matters: after a crash the checkpoint is never behind what was told to others.
        """
        state, epoch = self.state(), self.progress.epochs
        if self.weights:
            save_weights(folder, state["model"], epoch)
        if self.optimizer:
            with whole_file(folder.optimizer_of(epoch)) as file:
                torch.save(state["optimizer"], file)
        if self.predictions is not None:
            write_predictions(folder.predictions_of(epoch), self.predictions)
        with whole_file(folder.checkpoint) as file:
            torch.save({**state, "progress": self.progress.state_dict()}, file)
        settle(folder, self.progress)


def settle(folder: TrialFolder, progress: Progress) -> None:
    """Bring what lies beside the checkpoint in line with it; a crash may have come between the two."""
    write_history(folder, progress)
    best = progress.best_epoch or 0
    kept = (folder.weights_of(best), folder.optimizer_of(best), folder.predictions_of(best))
    for file in (*folder.weights.glob("epoch-*"), *folder.predictions.glob("epoch-*")):
        if file not in kept:
            file.unlink()


def load_checkpoint(folder: TrialFolder) -> dict[str, Any] | None:
    """Return the last checkpoint on the host, `progress` restored, or None where there is none.

    Raises TrialError when it holds more than tensors and plain values, since reading it could run code.
    """
    if not folder.checkpoint.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(folder.checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrialError(
            f"{folder.checkpoint} is no checkpoint of sweeper and is refused, since reading it could run code; "
            "remove it, and the trial starts from the beginning"
        ) from error
    state["progress"] = Progress.from_state_dict(state["progress"])
    return state


def write_history(folder: TrialFolder, progress: Progress) -> None:
    """Write the metrics of all epochs, for those who record them."""
    write_whole(folder.history, json.dumps([metrics.model_dump() for metrics in progress.history]))


def read_history(folder: TrialFolder) -> list[EpochMetrics]:
    """Return the metrics of all finished epochs; none of a trial that no worker lived to begin."""
    if not folder.history.exists():
        return []
    return [EpochMetrics.model_validate(metrics) for metrics in json.loads(folder.history.read_bytes())]


def save_weights(folder: TrialFolder, state: Mapping[str, Tensor], epoch: int) -> None:
    """Write a model's weights and buffers as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_whole(folder.weights_of(epoch), save(tensors))

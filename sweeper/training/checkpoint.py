"""A checkpoint to continue from, and the best weights so far. Each file appears whole or not at all."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from sweeper.errors import TrialError
from sweeper.files import write_whole
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics
from sweeper.training.progress import Progress


def save_checkpoint(folder: TrialFolder, state: dict[str, Any], progress: Progress) -> None:
    """Write `state` and the progress, then the history beside it, then drop weights that are no longer best.

    The order matters: after a crash the checkpoint is never behind what was told to others.
    """
    buffer = io.BytesIO()
    torch.save({**state, "progress": progress.state_dict()}, buffer)
    write_whole(folder.checkpoint, buffer.getvalue())
    settle(folder, progress)


def settle(folder: TrialFolder, progress: Progress) -> None:
    """Bring what lies beside the checkpoint in line with it; a crash may have come between the two."""
    write_history(folder, progress)
    best = progress.best_epoch or 0
    kept = (folder.weights_of(best), folder.optimizer_of(best), folder.predictions_of(best))
    for file in (*folder.weights.glob("epoch-*"), *folder.predictions.glob("epoch-*")):
        if file not in kept:
            file.unlink()


def load_checkpoint(folder: TrialFolder, device: torch.device) -> dict[str, Any] | None:
    """Return the last checkpoint, `progress` restored, or None where there is none.

    Raises TrialError when it holds more than tensors and plain values, since reading it could run code.
    """
    if not folder.checkpoint.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(folder.checkpoint, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrialError(
            f"{folder.checkpoint} is no checkpoint of sweeper and is refused, since reading it could run code; "
            "remove it, and the trial starts from the beginning"
        ) from error
    state["progress"] = Progress.from_state_dict(
        torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state["progress"])
    )
    return state


def write_history(folder: TrialFolder, progress: Progress) -> None:
    """Write the metrics of all epochs, for those who record them."""
    write_whole(folder.history, json.dumps([metrics.model_dump() for metrics in progress.history]))


def read_history(folder: TrialFolder) -> list[EpochMetrics]:
    """Return the metrics of all finished epochs; none of a trial that no worker lived to begin."""
    if not folder.history.exists():
        return []
    return [EpochMetrics.model_validate(metrics) for metrics in json.loads(folder.history.read_bytes())]


def save_optimizer(folder: TrialFolder, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Write the optimizer's state as it is beside the weights of the same epoch."""
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    write_whole(folder.optimizer_of(epoch), buffer.getvalue())


def save_weights(folder: TrialFolder, model: nn.Module, epoch: int) -> None:
    """Write the model's weights and buffers as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder.weights_of(epoch), save(tensors))

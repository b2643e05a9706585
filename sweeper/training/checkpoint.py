"""A checkpoint to continue from, and the best weights so far. Each file appears whole or not at all.

The checkpoint of the epoch before stays until there is a newer one: should a disk damage the last, the trial goes on
from there.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from sweeper.errors import TrialError
from sweeper.files import Damaged, read_sealed, sealed_file, whole_file, write_whole
from sweeper.paths import TrialFolder
from sweeper.results import write_history
from sweeper.scores.predictions import Predictions, write_predictions
from sweeper.training.progress import Progress
from sweeper.training.snapshot import with_own_memory

logger = logging.getLogger(__name__)

ZIP = b"PK"
"""How every file of torch begins."""


@dataclass(frozen=True)
class Record:
    """What a finished epoch leaves in the folder of its trial.

    `state` waits for a learner's state to be on the host. Of an epoch that is the best so far, or among the leading
    ones, `weights` and `optimizer` say whether these are kept beside the checkpoint, and `predictions` are what it says
    about the validation images.
    """

    state: Callable[[], dict[str, Any]]
    progress: Progress
    weights: bool = False
    optimizer: bool = False
    predictions: Predictions | None = None

    def write(self, folder: TrialFolder) -> None:
        """Write all of it: the checkpoint after the files that belong to it, then the history beside it.

        The order matters: after a crash the checkpoint is never behind what was reported.
        """
        state, epoch = self.state(), self.progress.epochs
        if self.weights:
            network = (state.get("average") or state)["model"]
            if self.progress.leading:
                save_leading(folder.leading_of(epoch), network)
            else:
                save_weights(folder.weights_of(epoch), network)
        if self.optimizer:
            with whole_file(folder.optimizer_of(epoch)) as file:
                torch.save(with_own_memory(state["optimizer"]), file)
        if self.predictions is not None:
            write_predictions(folder.predictions_of(epoch), self.predictions)
        if folder.checkpoint.exists():
            folder.checkpoint.replace(folder.checkpoint_before)
        with sealed_file(folder.checkpoint) as file:
            torch.save({**state, "progress": self.progress.state_dict()}, file)
        write_history(folder.history, self.progress.history)
        best, leading = (self.progress.best_epoch, self.progress.best_before), self.progress.leading_before
        keep_only(folder, best, {*self.progress.leading, *leading})


def settle(folder: TrialFolder, progress: Progress) -> None:
    """Bring what lies beside a checkpoint in line with it: a crash may have come between the two, or it is the last."""
    write_history(folder.history, progress.history)
    keep_only(folder, (progress.best_epoch,), progress.leading)


def keep_only(folder: TrialFolder, best: Collection[int | None], leading: Collection[int]) -> None:
    """Remove what is kept of other epochs than these."""
    files = (folder.weights_of, folder.optimizer_of, folder.predictions_of)
    kept = {file(epoch) for epoch in best if epoch is not None for file in files}
    kept |= {folder.leading_of(epoch) for epoch in leading}
    for place in (folder.weights, folder.predictions, folder.leading):
        for file in place.glob("epoch-*"):
            if file not in kept:
                file.unlink()


def remove_checkpoints(folder: TrialFolder) -> None:
    """Remove what a trial that has ended need not go on from."""
    folder.remove_to_go_on()


def load_checkpoint(folder: TrialFolder) -> dict[str, Any] | None:
    """Return the last checkpoint on the host that is whole, `progress` restored, or None where there is none.

    Raises TrialError when one holds more than tensors and plain values, since reading it could run code.
    """
    for file in (folder.checkpoint, folder.checkpoint_before):
        if not file.exists():
            continue
        try:
            state = _read(file)
            require_best(folder, state)
        except Damaged as error:
            logger.warning("%s; the trial goes on from what is there besides, or from the beginning", error)
            file.unlink()
        else:
            return state
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read one checkpoint. Raises Damaged, and TrialError for what was never a checkpoint of ours."""
    content, sealed = read_sealed(file)
    if not content.startswith(ZIP):
        raise Damaged(f"{file} is cut short or damaged: it does not begin as a checkpoint does")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        state["progress"] = Progress.from_state_dict(state["progress"])
    except pickle.UnpicklingError as error:
        raise TrialError(
            f"{file} is not a checkpoint of sweeper, and reading it could run code; "
            "remove it, and the trial starts from the beginning"
        ) from error
    except Exception as error:  # torch's reader fails in many ways on half a file
        if sealed:
            raise
        raise Damaged(f"{file} is cut short or damaged: {str(error).partition(chr(10))[0]}") from error
    return state


def require_best(folder: TrialFolder, state: Mapping[str, Any]) -> None:
    """Raise Damaged where the best weights, which a checkpoint only names, are gone, or leading ones are damaged."""
    progress: Progress = state["progress"]
    best, elsewhere = progress.best_epoch, progress.leading or state.get("best_head")
    if best is not None and not elsewhere and not folder.weights_of(best).exists():
        raise Damaged(f"{folder.weights_of(best)}, the best weights so far, is gone")
    for epoch in progress.leading:
        read_leading(folder.leading_of(epoch))


def save_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model's weights and buffers as safetensors."""
    write_whole(file, _as_bytes(state))


def save_leading(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write the weights and buffers of what learns after a leading epoch, with a digest of them."""
    with sealed_file(file) as sealed:
        sealed.write(_as_bytes(state))


def read_leading(file: Path) -> dict[str, Tensor]:
    """Return the weights of a leading epoch, on the host. Raises Damaged where they are not what was written."""
    try:
        content, sealed = read_sealed(file)
    except OSError as error:
        raise Damaged(f"{file}, the weights of one of the best epochs, is gone: {error.strerror}") from error
    if not sealed:
        raise Damaged(f"{file}, the weights of one of the best epochs, is cut short")
    return load(content)


def _as_bytes(state: Mapping[str, Tensor]) -> bytes:
    apart: dict[str, Tensor] = {}
    stored: set[tuple[int, int]] = set()
    for name, tensor in state.items():
        kept = tensor.detach().cpu().contiguous()
        place = kept.data_ptr(), kept.numel()
        apart[name] = kept.clone() if place in stored else kept  # weights that two layers share are stored twice
        stored.add(place)
    return save(apart)

"""What a trial that goes on from another one takes from its files: the head, and perhaps the optimizer's state.

The backbone comes as any pretrained one does.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from sweeper.errors import ModelError
from sweeper.modeling.weights import read_weights
from sweeper.training.unfreezing import COUNTED


def load_head(head: nn.Module, weights: Path) -> None:
    """Load the head's part of a classifier's weights. Raises ModelError when it does not fit."""
    prefix = "head."
    state = {name.removeprefix(prefix): t for name, t in read_weights(weights).items() if name.startswith(prefix)}
    try:
        head.load_state_dict(state)
    except RuntimeError as error:  # torch's word for keys or shapes that differ
        raise ModelError(
            f"the head in {weights} does not fit: {error}; the classes must be those that it was trained on"
        ) from error


def load_optimizer(optimizer: torch.optim.Optimizer, file: Path, device: torch.device) -> None:
    """Load what an optimizer has gathered (momenta, counts of steps and averages), and none of its settings.

    Raises ModelError when it belongs to another optimizer or to other parameters.
    """
    try:
        kept = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file} is not an optimizer state, and reading it could run code; remove the study's "
            "folder `start`, and it is fetched again"
        ) from error
    new = optimizer.state_dict()
    sizes = [[len(group["params"]) for group in state["param_groups"]] for state in (kept, new)]
    if sizes[0] != sizes[1]:
        raise ModelError(f"{file} is of groups of {sizes[0]} parameters, and there are {sizes[1]}; continue without it")
    for group, before in zip(new["param_groups"], kept["param_groups"], strict=True):
        group.update({name: before[name] for name in COUNTED if name in before})
    optimizer.load_state_dict({"state": kept["state"], "param_groups": new["param_groups"]})

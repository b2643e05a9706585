"""Pretrained weights from a file: read without running anything in it, loaded whole or not at all."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sweeper.errors import ModelError

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model")
"""Keys under which training programs put the weights beside other things."""

SHOWN = 4
"""How many differing keys a message names."""


def load_weights(module: nn.Module, path: Path, classifier: Sequence[str]) -> None:
    """Load a backbone's weights from a file; only the keys of its old classifier may be left over.

    A file that sweeper wrote (`backbone.…` and `head.…`) gives its backbone. Where the shapes differ
    only because the image size does, position embeddings are resampled as timm does it.

    Args:
        module: The backbone, without a classifier.
        path: A safetensors file, or a torch checkpoint that holds nothing but tensors.
        classifier: Names of the modules that scored classes when the weights were saved.

    Raises:
        ModelError: the file cannot be read, would run code, or does not fit.
    """
    own = module.state_dict()
    state = backbone_part(read_weights(path))
    if differences(own, with_counts(state, own), classifier):
        state = converted(state, module)
    state = with_counts(state, own)
    found = differences(own, state, classifier)
    if found:
        advice = "name the architecture that these weights were saved from, or another file"
        raise ModelError(f"{path} does not fit the backbone: {'; '.join(found)}; {advice}")
    module.load_state_dict({key: state[key] for key in own})


def with_counts(state: State, own: State) -> State:
    """Add the counts of batches that files from before torch 0.4.1 lack; only a mean over all batches needs them."""
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    return state | {key: value for key, value in counts.items() if key not in state}


def read_weights(path: Path) -> State:
    """Read a state dict onto the CPU. Raises ModelError when the file is anything else."""
    try:
        content = read_tensors(path)
    except pickle.UnpicklingError as error:
        advice = "save the model's state_dict() alone, best as safetensors"
        raise ModelError(
            f"{path} is damaged or holds more than tensors, and is refused, since reading it could run code; {advice}"
        ) from error
    except Exception as error:  # damaged files raise nearly anything from within the readers
        raise ModelError(f"{path} cannot be read as weights: {error}; check that the file is whole") from error
    return state_in(content, path)


def read_tensors(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd pickles, which are then refused
        return torch.load(path, map_location="cpu", weights_only=True)


def state_in(content: Any, path: Path) -> State:
    """Return the mapping of names to tensors in a file's content, wrapped or not."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path} is not a mapping of names to tensors; save the model's state_dict()")
    return {str(key): value for key, value in content.items()}


def backbone_part(state: State) -> State:
    """Return the backbone's weights out of those of a whole classifier."""
    part = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    return part or state


def converted(state: State, module: nn.Module) -> State:
    """Let timm rename foreign keys and resample what depends on the image size, where it knows how."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return dict(convert(dict(state), module))
    except (KeyError, ValueError, RuntimeError, AttributeError, AssertionError):
        return state  # not a layout that timm can convert; what differs is then named in the file's own words


def differences(own: State, state: State, classifier: Sequence[str]) -> list[str]:
    """Tell in words what is missing, unexpected or of another shape."""
    extra = [key for key in state if key not in own and not key.startswith(tuple(f"{name}." for name in classifier))]
    shared = [key for key in own if key in state and own[key].shape != state[key].shape]
    shapes = [
        f"{key} is {list(state[key].shape)} in the file and {list(own[key].shape)} in the model" for key in shared
    ]
    told = {"missing": [key for key in own if key not in state], "unexpected": extra, "other shapes": shapes}
    return [f"{what}: {first_of(keys)}" for what, keys in told.items() if keys]


def first_of(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more

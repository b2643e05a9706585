"""Search spaces for programs: from a file, or from a dictionary of the same form."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.config.document import Document
from sweeper.config.loading import load_sweep, validated
from sweeper.config.names_to_check import NamesUsed
from sweeper.config.sweep import SweepConfig
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem

Space = SweepConfig | Mapping[str, Any] | str | os.PathLike[str]
"""What stands for a search space: a loaded one, a dictionary of its keys, or the path of a file."""


def load_space(space: Space, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a search space.

    Args:
        space: The path of a YAML file, a dictionary with the same keys, or a search space that is loaded already.
        overrides: Keys set anew, as with `--set`: `["search.batch_size=64"]`.

    Raises:
        ConfigError: it holds mistakes; all of them are told at once.
    """
    if isinstance(overrides, str) or not isinstance(overrides, Sequence) or not all(map(_is_text, overrides)):
        rule = f'should be a list of texts such as ["search.batch_size=64"], got {overrides!r}'
        raise ConfigError([Problem("overrides", "", rule)])
    if isinstance(space, str | os.PathLike):
        return load_sweep(Path(space), overrides, _check_names)
    if isinstance(space, SweepConfig):
        return _changed(space, overrides) if overrides else space
    given: object = space  # whatever a program may pass
    if not isinstance(given, Mapping):
        found = type(space).__name__
        raise ConfigError([Problem(IN_SEARCH_SPACE, "", f"should be a path or a dictionary, got {found}")])
    return validated(Document(IN_SEARCH_SPACE, _plain(space)), overrides, _check_names)


def _changed(space: SweepConfig, overrides: Sequence[str]) -> SweepConfig:
    """Set keys of a loaded search space anew; what nobody has written in it follows from the others again."""
    written = space.written()
    changed = validated(Document(IN_SEARCH_SPACE, written), overrides, _check_names)
    return changed if "notify" in changed.model_fields_set else changed.model_copy(update={"notify": space.notify})


def _check_names(used: NamesUsed) -> list[tuple[str, str]]:
    from sweeper.modeling.name_check import check_apart

    return check_apart(used, meanwhile=lambda: None)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _plain(value: Any) -> Any:
    """Return a copy in the types that a YAML file gives: paths as text; tuples, sets and arrays of NumPy as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):  # in one order in every process
        return sorted(map(_plain, value), key=str)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value

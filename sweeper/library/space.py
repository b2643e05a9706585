"""Search spaces for programs: from a file, or from a dictionary of the same form."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    if isinstance(overrides, str) or not isinstance(overrides, Sequence):
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
    return validated(Document(IN_SEARCH_SPACE, space.model_dump(mode="json", by_alias=True)), overrides, None)


def _check_names(used: NamesUsed) -> list[tuple[str, str]]:
    from sweeper.modeling.name_check import check_apart

    return check_apart(used, meanwhile=lambda: None)


def _plain(value: Any) -> Any:
    """Return a copy in the types that a YAML file gives: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value

"""Nested configuration as one level of dotted names."""

from __future__ import annotations

from typing import Any


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return `{"optimizer.lr": 0.1}` for `{"optimizer": {"lr": 0.1}}`; lists stay one value."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{name}.{key}" if name else str(key))
    return flat

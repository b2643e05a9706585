"""The names in a search space that only the libraries behind them can check: backbones, optimizers, files, a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.config.document import Key
from sweeper.config.task import reconstructs

Named = list[tuple[str, str]]  # a dotted key and the name that stands there


class NamesUsed:
    """Collects names from raw data, whatever else may be wrong with it.

    `decoder`: every backbone must have one; `drop_path`: it must have blocks that can be left out. `device` is that of
    trials on this machine.
    """

    def __init__(self, data: dict[str, Any]):
        self.keys: dict[str, Key] = {}
        search = data.get("search")
        search = search if isinstance(search, dict) else {}
        self.backbones = self._names(("search", "backbone"), search.get("backbone"))
        self.optimizers = self._names(("search", "optimizer"), search.get("optimizer"))
        self.pretrained = self._names(("search", "pretrained"), search.get("pretrained"))
        self.teachers = self._names(("search", "teacher"), search.get("teacher"))
        self.drop_path = search.get("drop_path_rate") not in (None, 0)
        self.decoder = reconstructs(data.get("task"))
        self.device = self._names(("device",), data.get("device")) if _is_local(data.get("engine")) else []
        files = data.get("model_files")
        listed = enumerate(files) if isinstance(files, list) else ()
        self.model_files = [pair for i, file in listed for pair in self._names(("model_files", i), file)]

    def _names(self, key: Key, value: Any) -> Named:
        found = [(dotted(place), name, place) for place, name in _options(key, value)]
        self.keys |= {written: place for written, _, place in found}
        return [(written, name) for written, name, _ in found]


def _is_local(engine: Any) -> bool:
    """Return whether trials run on this machine, so that it must have their device."""
    named = engine.get("name") if isinstance(engine, dict) else engine
    return named in (None, "local")


def _options(key: Key, value: Any) -> Iterator[tuple[Key, str]]:
    """Yield the name that a value is or has, or those of every option of a choice."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict) and isinstance(value.get("choice"), list):
        for index, option in enumerate(value["choice"]):
            yield from _options((*key, "choice", index), option)
    elif isinstance(value, dict) and "name" in value:
        yield from _options((*key, "name"), value["name"])


def dotted(key: Key) -> str:
    """Write a key as a user would: `search.optimizer.choice[0].lr`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text

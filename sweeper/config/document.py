"""A YAML document with the line of every key, so that a mistake can be pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sweeper.errors import Problem

Key = tuple[str | int, ...]

# YAML 1.1 reads 1e-4 as text, for want of a dot; everyone who writes it means the number.
PLAIN_FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$")


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader that takes `1e-4` for a number and merge keys for what they are."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", PLAIN_FLOAT, list("-+.0123456789"))


@dataclass
class Document:
    """The data of a search space and where each part of it was written."""

    source: str
    data: Any
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where(self, key: Key) -> str:
        """Return `file:line` of a key, or of the nearest key above it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, self.source)

    def override(self, assignment: str) -> None:
        """Apply `search.batch_size=64`; the value is read as YAML."""
        place = f"--set {assignment}"
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip():
            self.problems.append(Problem(place, "", "an override is written KEY=VALUE, as in search.batch_size=64"))
            return
        try:
            value = yaml.load(text, Loader)  # noqa: S506  # a safe loader
        except yaml.YAMLError as error:
            self.problems.append(Problem(place, dotted, f"the value is no YAML: {_one_line(error)}"))
            return
        self._assign(tuple(dotted.strip().split(".")), value, place)

    def _assign(self, key: Key, value: Any, place: str) -> None:
        parent = self.data
        for depth, part in enumerate(key[:-1], 1):
            if not isinstance(parent.get(part), dict):
                parent[part] = {}
                self.places[key[:depth]] = place
            parent = parent[part]
        parent[key[-1]] = value
        for known in [known for known in self.places if known[: len(key)] == key]:
            del self.places[known]
        self.places[key] = place


def read_document(text: str, source: str) -> Document:
    """Parse a search space; syntax errors and duplicate keys go to `problems`."""
    document = Document(source, {})
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise yaml.MarkedYAMLError(problem="the file is empty")
        document.problems.extend(_duplicates(node, source))
        document.data = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = _line_of(error)
        document.problems.append(Problem(f"{source}:{line}" if line else source, "", f"no YAML: {_one_line(error)}"))
        return document
    if not isinstance(document.data, dict):
        found = type(document.data).__name__
        document.problems.append(
            Problem(f"{source}:1", "", f"should be keys and values such as `study: name`, got {found}")
        )
        document.data = {}
        return document
    document.places = {key: f"{source}:{line}" for key, line in _lines(node, (), set())}
    return document


def _lines(node: yaml.Node, key: Key, above: set[int]) -> Iterator[tuple[Key, int]]:
    """Yield the line of every key below a node; an alias is entered once on each path."""
    if id(node) in above:
        return
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            part = (*key, str(name.value))
            yield part, name.start_mark.line + 1
            yield from _lines(value, part, above | {id(node)})
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*key, index), item.start_mark.line + 1
            yield from _lines(item, (*key, index), above | {id(node)})


def _duplicates(node: yaml.Node, source: str, seen: set[int] | None = None) -> Iterator[Problem]:
    seen = set() if seen is None else seen
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    first: dict[str, int] = {}
    for item in node.value:
        if isinstance(node, yaml.MappingNode):
            name, line = str(item[0].value), item[0].start_mark.line + 1
            if name in first:
                yield Problem(f"{source}:{line}", name, f"stands twice, first in line {first[name]}; keep one of them")
            first.setdefault(name, line)
        for child in item if isinstance(item, tuple) else (item,):
            yield from _duplicates(child, source, seen)


def _line_of(error: Exception) -> int | None:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else None


def _one_line(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]

"""A YAML document with the line of every key, so that a mistake can be pointed at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sweeper.errors import Problem

Key = tuple[str | int, ...]

# YAML 1.1 reads 1e-4 as text, since it has no dot; everyone who writes it means the number.
PLAIN_FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$")


# Far above any search space; a file of a few hundred bytes can otherwise stand for billions of values.
DEEPEST, MOST_VALUES, LARGEST_INT = 50, 20_000, 2**63

INT, FLOAT, TIMESTAMP = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))

# YAML 1.1 reads 020 as 16 and 1:30 as 90; nobody who writes them means that. Here they are
# text: the first is 20 where a number is asked for, the second is refused.
DECIMAL_INT = re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
DECIMAL_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$")
ENGINE = ("engine", "name")
DISTRIBUTIONS = ("choice", "float", "int")

NO_NUMBER = re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader that takes `1e-4` for a number and names the line of every value it refuses."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > DEEPEST:
            raise _refused(f"is nested more than {DEEPEST} levels deep; flatten it", self._mark())
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _mark(self) -> yaml.Mark:
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        return mark

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # all that PyYAML's constructors raise
            raise _refused(
                f"{short(node.value)} is not a valid {_kind(node)}; quote it if it is text", node.start_mark
            ) from error
        if isinstance(value, int) and abs(value) >= LARGEST_INT:
            raise _refused("a whole number has at most 63 bits; write a smaller one", node.start_mark)
        return value

    def construct_undefined(self, node: yaml.Node) -> Any:
        raise _refused(f"the tag {node.tag} is refused, since a search space is plain data; remove it", node.start_mark)


Loader.yaml_implicit_resolvers = {  # without dates, which are text here
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (INT, FLOAT, TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for tag, pattern in ((INT, DECIMAL_INT), *((FLOAT, form) for form in (DECIMAL_FLOAT, PLAIN_FLOAT, NO_NUMBER))):
    Loader.add_implicit_resolver(tag, pattern, list("-+.0123456789"))
Loader.add_constructor(None, Loader.construct_undefined)


def _refused(rule: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=rule, problem_mark=mark)


def _kind(node: yaml.Node) -> str:
    return str(node.tag).rpartition(":")[2]


def short(value: Any, longest: int = 120) -> str:
    """Write a value as Python does, cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def shown_assignment(assignment: str) -> str:
    """Return an override as it may be shown: addresses of webhooks are secrets."""
    option = "--set=" if assignment.startswith("--set=") else ""
    key, equals, _ = assignment.removeprefix(option).partition("=")
    return f"{option}{key}{equals}…" if equals and key.strip().startswith("notify") else assignment


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

    def override(self, assignment: str, option: str = "--set ") -> None:
        """Apply `search.batch_size=64`, given by an option; the value is read as YAML."""
        dotted, equals, text = assignment.partition("=")
        place = f"{option}{shown_assignment(assignment)}"
        if not equals or not dotted.strip():
            self.problems.append(Problem(place, "", "an override is written KEY=VALUE, as in search.batch_size=64"))
            return
        try:
            node, value = _parsed(text)
        except yaml.YAMLError as error:
            self.problems.append(Problem(place, dotted, f"the value is not valid YAML: {_one_line(error)}"))
            return
        if node is not None:
            self.problems.extend(_duplicates(node, place))
        key = tuple(dotted.strip().split("."))
        if key == ENGINE and isinstance(engine := self.data.get("engine"), dict) and engine.get("name") != value:
            self._assign(("engine",), {}, place)  # another engine has none of its settings
        self._assign(key, value, place)

    def _assign(self, key: Key, value: Any, place: str) -> None:
        parent = self.data
        for depth, part in enumerate(key[:-1], 1):
            if not isinstance(parent.get(part), dict):
                above = parent.get(part)
                named = isinstance(above, str) and key[depth] not in DISTRIBUTIONS  # a name may stand for an object
                parent[part] = {"name": above} if named else {}
                self.places[key[:depth]] = place
            parent = parent[part]
        parent[key[-1]] = value
        for known in [known for known in self.places if known[: len(key)] == key]:
            del self.places[known]
        self.places[key] = place


def written(text: str) -> str:
    """Return a text as it stands in a search space, quoted where YAML would read something else."""
    plain = re.fullmatch(r"[A-Za-z0-9_./-]+", text) and yaml.load(text, Loader) == text  # noqa: S506  # a safe one
    return text if plain else json.dumps(text, ensure_ascii=False)


def read_document(text: str, source: str) -> Document:
    """Parse a search space; syntax errors and duplicate keys go to `problems`."""
    document = Document(source, {})
    try:
        node, document.data = _parsed(text)
        if node is None:
            raise yaml.MarkedYAMLError(problem="the file is empty; `sweeper init --example` lists examples")
    except yaml.YAMLError as error:
        line = _line_of(error, text)
        document.data = {}
        document.problems.append(Problem(f"{source}:{line}", "", f"not valid YAML: {_one_line(error)}"))
        return document
    document.problems.extend(_duplicates(node, source))
    if not isinstance(document.data, dict):
        found = type(document.data).__name__
        document.problems.append(
            Problem(f"{source}:1", "", f"should be keys and values such as `study: name`, got {found}")
        )
        document.data = {}
        return document
    document.places = {(): f"{source}:1"} | {key: f"{source}:{line}" for key, line in _lines(node, ())}
    return document


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the root node and the data of a text. Raises YAMLError for what is none or stands for too much."""
    loader = Loader(text)
    node: yaml.Node | None = loader.get_single_node()
    if node is None:
        return None, None
    if _count(node, {}) > MOST_VALUES:
        aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        whose = "its aliases stand for" if aliases else "it has"
        remedy = "write out what is needed" if aliases else "leave some out"
        raise _refused(f"{whose} more than {MOST_VALUES:,} values; {remedy}", node.start_mark)
    return node, _written_out(loader.construct_document(node))


def _written_out(value: Any) -> Any:
    """Return data in which every alias stands for values of its own, so that one can be changed without the others."""
    if isinstance(value, dict):
        return {key: _written_out(inner) for key, inner in value.items()}
    return [_written_out(inner) for inner in value] if isinstance(value, list) else value


def _count(node: yaml.Node, counted: dict[int, int | None]) -> int:
    """Count the values below a node as if every alias were written out, without writing any out."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = None
        children = (child for item in node.value for child in (item if isinstance(item, tuple) else (item,)))
        counted[id(node)] = 1 + sum(_count(child, counted) for child in children)
    known = counted[id(node)]
    if known is None:
        raise _refused("an alias is inside the value it refers to; write the value out", node.start_mark)
    return known


def _lines(node: yaml.Node, key: Key) -> Iterator[tuple[Key, int]]:
    """Yield the line of every key below a node."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            part = (*key, str(name.value))
            yield part, name.start_mark.line + 1
            yield from _lines(value, part)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*key, index), item.start_mark.line + 1
            yield from _lines(item, (*key, index))


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
                yield Problem(f"{source}:{line}", name, f"appears twice, first in line {first[name]}; keep one of them")
            first.setdefault(name, line)
        for child in item if isinstance(item, tuple) else (item,):
            yield from _duplicates(child, source, seen)


def _line_of(error: yaml.YAMLError, text: str) -> int:
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


def _one_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]

"""The reference of all keys of a search space, written from the models themselves."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.nested_models import models_in
from sweeper.config.sweep import SweepConfig

INTRODUCTION = """\
# Search space

Every key of a search-space file, with its default. The same as a JSON Schema for editors is in
[search_space.schema.json](search_space.schema.json); `sweeper schema` prints it. This page is written by
`sweeper schema --markdown`.

Under `search:` a field takes a value or a distribution:

| written | means |
|---|---|
| `0.1` | this value in every trial |
| `{float: [1e-4, 1e-2], log: true}` | a real number between the two, both included; or with `step: 0.1` |
| `{int: [1, 5]}` | a whole number, likewise |
| `{choice: [32, 64]}` | one of these; options that are objects may hold distributions of their own |

`--set KEY=VALUE` overrides a key from the command line: `--set search.weight_decay=0.01`. A key inside a `choice`
cannot be set alone; replace the whole choice: `--set 'search.optimizer={name: adamw, lr: 0.01}'`.
Paths are relative to the working directory. `name` alone may stand for an object: `scheduler: cosine`.
"""


def markdown() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *_section("", SweepConfig, {"search": TrialConfig})])


def _section(key: str, model: type[BaseModel], instead: dict[str, type[BaseModel]] | None = None) -> Iterator[str]:
    """Yield the table of a model, then the sections of the models inside it."""
    yield f"## `{key}`\n" if key else "## Top level\n"
    yield from _table(key, model)
    for name, info in _fields(model):
        inner = [instead[name]] if instead and name in instead else list(models_in(info.annotation))
        place = f"{key}.{name}" if key else name
        if len(inner) == 1:
            yield from _section(place, inner[0])
        elif inner:
            yield f"## `{place}`\n\nOne of these, chosen by `name`:\n"
            for option in inner:
                yield from _option(option)


def _option(model: type[BaseModel]) -> Iterator[str]:
    names = get_args(model.model_fields["name"].annotation)
    yield f"### {', '.join(f'`{name}`' for name in names) or 'any other name'}\n"
    yield from _table("", model)
    for name, info in model.model_fields.items():
        inner = list(models_in(info.annotation))
        if len(inner) == 1:
            yield f"#### `{name}`\n"
            yield from _table(name, inner[0])


def _table(key: str, model: type[BaseModel]) -> Iterator[str]:
    if model.__doc__ and not (key and model is TrialConfig):
        yield f"{model.__doc__.strip()}\n"
    rows = [_row(key, name, info) for name, info in _fields(model) if name != "name" or not _is_fixed(info)]
    if rows:
        yield "\n".join(["| key | takes | default | |", "|---|---|---|---|", *rows, ""])


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Return the fields of a model by name; the pruner, whose default needs all others, beside the sampler."""
    fields = list(model.model_fields.items())
    names = [name for name, _ in fields]
    if model is SweepConfig:
        fields.insert(names.index("sampler") + 1, fields.pop(names.index("pruner")))
    return fields


def _is_fixed(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is Literal


def _row(key: str, name: str, info: FieldInfo) -> str:
    """Return a row of a table; a key that holds keys leads to their section."""
    models = list(models_in(info.annotation))
    written = info.alias or name
    below = f"[see below](#{f'{key}{written}'.replace('.', '')})" if key or models else "see below"
    takes = below if models else _type(info.annotation)
    default = "required" if info.is_required() else _default(info.default, bool(models))
    default = "follows from others" if info.default_factory else default
    return f"| `{written}` | {takes} | {default} | {info.description or _summary(models)} |"


def _default(value: Any, holds_keys: bool) -> str:
    if not holds_keys:
        return f"`{_plain(value)}`"
    name = getattr(value, "name", None)
    return f"`{name or _plain(value)}`" if name or not isinstance(value, BaseModel) else "see there"


def _summary(models: list[type[BaseModel]]) -> str:
    """Return what the one model says of itself first."""
    (model,) = models
    return f"{' '.join((model.__doc__ or '').split()).partition('. ')[0].rstrip('.')}."


def _plain(value: Any) -> str:
    """Write a default as YAML would."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{option}`" for option in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    names = {float: "number", int: "whole number", bool: "true, false", str: "text", type(None): "null"}
    return names.get(annotation, "keys and values")

"""From a search-space file and `--set` overrides to a `SweepConfig`, or to all that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sweeper.config.as_distribution import as_distribution
from sweeper.config.contradictions import contradictions
from sweeper.config.document import Document, Key, read_document, short
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.names_to_check import NamesUsed, dotted
from sweeper.config.nearest_name import is_part_of, meant, nearest_name, unknown_key
from sweeper.config.nested_models import models_in
from sweeper.config.space import Choice, FloatRange, IntRange
from sweeper.config.space_membership import fit
from sweeper.config.sweep import SweepConfig
from sweeper.config.wording import rule_of
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem

NameCheck = Callable[[NamesUsed], Iterable[tuple[str, str]]]
DISTRIBUTIONS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"choice": Choice, "float": FloatRange, "int": IntRange}
)


def load_sweep(path: Path, overrides: Sequence[str] = (), check_names: NameCheck | None = None) -> SweepConfig:
    """Read, override and validate a search space.

    `check_names` returns which names (of backbones, optimizers, files) do not exist; it is asked if the rest is right.

    Raises ConfigError with every problem found, in the order of the file.
    """
    document = read_document(_text_of(path), str(path))
    if document.problems and not document.data:
        raise ConfigError(document.problems)
    return validated(document, overrides, check_names)


@contextmanager
def naming_lines(source: Path | str, overrides: Sequence[str]) -> Iterator[None]:
    """Let mistakes that are found after loading, when data and networks are known, name the line of their key too.

    `source` is the search space's file, or what stands in its place. Raises ConfigError.
    """
    document = read_document(_text_of(source), str(source)) if isinstance(source, Path) else Document(source, {})
    for assignment in overrides:
        document.override(assignment)
    try:
        yield
    except ConfigError as error:
        raise ConfigError([_placed(problem, document) for problem in error.problems]) from error


def _placed(problem: Problem, document: Document) -> Problem:
    if problem.where != IN_SEARCH_SPACE:
        return problem
    return replace(problem, where=document.where(tuple(problem.key.split("."))))


def validated(document: Document, overrides: Sequence[str], check_names: NameCheck | None) -> SweepConfig:
    """Override and validate a document. Raises ConfigError with every problem found, in the order of the file."""
    for assignment in overrides:
        document.override(assignment)
    config, problems = _validate(document)
    problems += document.problems
    for place, message in contradictions(config) if config else ():
        problems.append(Problem(document.where(place), dotted(place), message))
    problems += _queue_problems(document, config) if config else []
    if check_names and not problems:  # it takes seconds, and a mistake in the file is told without
        used = NamesUsed(document.data)
        problems = [Problem(document.where(used.keys[key]), key, message) for key, message in check_names(used)]
    if problems or config is None:
        raise ConfigError(sorted(problems, key=_position))
    return config


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = nearest_name(path.name, [file.name for file in path.parent.glob("*.y*ml")])
        hint = f"; did you mean {path.parent / near}?" if near else f"{relative_to_here(path)}"
        hint += "" if path.suffix else "; `sweeper run` takes a YAML file, or a folder of images"
        raise ConfigError([Problem(str(path), "", f"search space not found{hint}")]) from None
    except UnicodeDecodeError as error:
        line = bytes(error.object).count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{path}:{line}", "", f"is not UTF-8 text: byte {error.start}")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror or error}")]) from None


def relative_to_here(path: Path) -> str:
    """Say where a relative path begins."""
    return "" if path.is_absolute() else f"; relative paths begin in the working directory, {Path.cwd()}"


def _validate(document: Document) -> tuple[SweepConfig | None, list[Problem]]:
    try:
        return SweepConfig.model_validate(document.data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [_problem(document, item) for item in details if not _follows_from_another(item, details)]


def _queue_problems(document: Document, config: SweepConfig) -> list[Problem]:
    """Return what is enqueued and not in the search space."""
    remedy = "; change it here, or widen it under `search`"
    return [
        Problem(document.where(key), dotted(key), f"{misfit.why}{remedy if misfit.outside else ''}")
        for name, given in config.enqueue.items()
        for misfit in fit(config.search, given).misfits
        for key in [("enqueue", name, *misfit.key)]
    ]


def _follows_from_another(item: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Tell of a default that waits for other keys, and of a list that is too short since its items were refused."""
    if item["type"] == "default_factory_not_called":
        return True
    loc = item["loc"]
    below = any(other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details)
    return item["type"] == "too_short" and below


def _problem(document: Document, item: ErrorDetails) -> Problem:
    *outer, last = item["loc"]
    if item["type"] == "extra_forbidden" and outer and outer[-1] in DISTRIBUTIONS:
        key, _ = _resolve(document.data, tuple(outer[:-1]))
        beside, kind = (*key, last), str(outer[-1])
        return Problem(document.where(beside), dotted(beside), _beside(document.data, beside, kind))
    key, models = _resolve(document.data, item["loc"])
    return Problem(document.where(key), dotted(key), _message(item, key, models))


def _beside(data: Any, key: Key, kind: str) -> str:
    """Say what is wrong with a key beside those of a distribution: in a choice each option has its own keys."""
    if kind != "choice":
        return _unknown(key, _fields(DISTRIBUTIONS[kind]))
    for part in key[:-1]:
        data = _item(data, part)
    listed = data["choice"] if isinstance(data["choice"], list) else []
    name, options = str(key[-1]), [option for option in listed if isinstance(option, dict)]
    if not options:
        return "unknown key beside `choice`; remove it"
    rule = "a key inside a `choice` cannot be set alone; write it into its options, or replace the whole choice"
    if option := next((option for option in options if name in option), None):
        given = {"name": option["name"], name: data[name]} if "name" in option else {name: data[name]}
        written = yaml.safe_dump(given, default_flow_style=True, sort_keys=False, width=float("inf")).strip()
        rule += f": --set '{dotted(key[:-1])}={written}'"
    return rule


def _resolve(data: Any, loc: tuple[str | int, ...]) -> tuple[Key, list[type[BaseModel]]]:
    """Return the document's key for a pydantic location and the models that could stand there.

    A location holds the tags of unions beside keys and indices; a part is a tag when no model has
    a field of that name and the data has no such key.
    """
    key: list[str | int] = []
    models: list[type[BaseModel]] = [SweepConfig]
    for part in loc:
        inside = part in data if isinstance(data, dict) else isinstance(part, int)
        owners = [model for model in models if part in _fields(model)]
        if inside or owners:
            key.append(part)
            data = _item(data, part)
        if owners:
            models = [inner for owner in owners for inner in models_in(_fields(owner)[str(part)].annotation)]
        elif isinstance(part, str) and not inside:
            models = [model for model in models if _selected_by(model, part)] or models
    return tuple(key), models


def _item(data: Any, part: str | int) -> Any:
    """Return a part of the data; None where pydantic misses it."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _selected_by(model: type[BaseModel], tag: str) -> bool:
    """Return whether a tag of a union leads to this model."""
    if tag == "value":
        return not issubclass(model, Choice | FloatRange | IntRange)
    name = model.model_fields.get("name")
    return name is not None and (tag in get_args(name.annotation) or (tag == "timm" and name.annotation is str))


def _message(item: ErrorDetails, key: Key, models: Sequence[type[BaseModel]]) -> str:
    got = f", got {short(item['input'])}"
    match item["type"]:
        case "extra_forbidden":
            return _unknown(key, dict.fromkeys(name for model in models for name in _fields(model)))
        case "union_tag_invalid":
            allowed = [name.strip(" '") for name in str(item["ctx"]["expected_tags"]).split(",")]
            return f"should be one of {', '.join(allowed)}, got {short(item['ctx']['tag'])}" + meant(
                str(item["ctx"]["tag"]), allowed
            )
        case "union_tag_not_found":
            return f"needs a `name`{got}"
        case "literal_error":
            allowed = [name.strip(" '") for name in str(item["ctx"]["expected"]).replace(" or ", ", ").split(",")]
            return f"should be one of {', '.join(allowed)}{got}" + meant(str(item["input"]), allowed)
        case "value_error" | "missing":
            return rule_of(item)
        case _:
            return rule_of(item) + got + (as_distribution(item["input"]) if key[:1] == ("search",) else "")


def _unknown(key: Key, allowed: Iterable[str]) -> str:
    """Say that a key is unknown, and which was meant: here, else elsewhere, where it may be exactly that."""
    name, names = str(key[-1]), list(allowed)
    if name in OPTIONS:
        return f"unknown key: it is an option of the command, {OPTIONS[name]}"
    here = nearest_name(name, names)
    exactly_elsewhere = name in KEYS and (here is None or is_part_of(name, here))
    in_levels = name.partition(".")[0] in names
    place = None if in_levels or (here and not exactly_elsewhere) else _elsewhere(name, str(key[0]))
    return f"unknown key: did you mean {place}?" if place else unknown_key(name, names)


def _elsewhere(name: str, section: str) -> str | None:
    """Return where a key stands that is not allowed in its place, as one writes it; in its section, if there."""
    near = nearest_name(name, KEYS)
    if near is None:
        return None
    return next((place for place in KEYS[near] if place.startswith(f"{section}.")), KEYS[near][0])


def _all_keys() -> dict[str, list[str]]:
    """Return the places of every key, by its own name, those nearest to the top first."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, type[BaseModel]]] = [("", SweepConfig)]
    while waiting:
        place, model = waiting.pop(0)
        for name, info in _fields(model).items():
            inside = f"{place}.{name}" if place else name
            found.setdefault(name, []).append(inside)
            kinds = [TrialConfig] if inside == "search" else models_in(info.annotation)
            waiting += [(inside, inner) for inner in kinds if inside.count(".") < DEEPEST_KEY]
    return found


DEEPEST_KEY = 3
KEYS = _all_keys()
OPTIONS = {"workers": "--workers", "num_workers": "--workers", "storage": "--storage", "tracking_uri": "--tracking-uri"}


def _position(problem: Problem) -> tuple[bool, int]:
    line = problem.where.rpartition(":")[2]
    return (not line.isdecimal(), int(line) if line.isdecimal() else 0)

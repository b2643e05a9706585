"""How `--help` names what an option or argument takes: in everyday words; a switch takes nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

WORDS = {
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
    "<path>": "PATH",
    "<file>": "PATH",
    "<directory>": "PATH",
    "<list[path]>": "PATH",
    "<list[Path]>": "PATH",
    "<int>": "NUMBER",
    "<float>": "NUMBER",
    "<int range>": "NUMBER",
    "<float range>": "NUMBER",
}
"""What Typer calls the types, and what it is to show for them."""


def in_words(parameter: Any, ctx: Any) -> str | None:
    """Return what an option or argument takes; None for a switch, and for an argument whose name says it."""
    if getattr(parameter, "is_flag", False):
        return None
    if parameter.metavar:
        return None if parameter.param_type_name == "argument" else str(parameter.metavar)
    written = str(parameter.display_type(ctx))
    return WORDS.get(written, written.strip("<>"))


class Command(TyperCommand):
    """A command whose help is in words."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_worded(parameter) for parameter in super().get_params(ctx)]


class Group(TyperGroup):
    """Commands with options of their own, whose help is in words."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_worded(parameter) for parameter in super().get_params(ctx)]


def _worded(parameter: Any) -> Any:
    parameter.display_type_rich = partial(in_words, parameter)
    return parameter

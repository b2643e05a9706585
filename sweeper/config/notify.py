"""Who is told when a study ends or is in trouble: the `notify` section. It is about this machine, not the study."""

from __future__ import annotations

import shlex
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sweeper.config.frozen import Frozen


def is_a_command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"should be a command as a shell reads it: {error}") from None
    if not words:
        raise ValueError("should be a command, such as `notify-send sweeper`")
    return value


def is_a_web_address(value: str) -> str:
    """Refuse other addresses; what was given is not repeated, since it may hold a secret."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("should be an address that begins with https:// or http://")
    return value


class NotifyConfig(Frozen):
    """Who is told when a study ends: finished, stopped, interrupted or failed. It is stored nowhere."""

    command: Annotated[str, AfterValidator(is_a_command)] | None = Field(
        None,
        description="A command that is run with one line of text as its last argument, and all there is to say as JSON "
        "on its input (docs/notify.md).",
    )
    webhook: Annotated[str, AfterValidator(is_a_web_address)] | None = Field(
        None, description="An address to which the same JSON is posted; `text` is the line."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.command and self.webhook:
            raise ValueError("command and webhook are two ways; keep one, and let the command call the other")
        return self

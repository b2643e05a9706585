"""What every configuration model is made of, and the short form of one that has a name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A configuration model: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def named(value: Any) -> Any:
    """Let `scheduler: cosine` stand for `scheduler: {name: cosine}`."""
    return {"name": value} if isinstance(value, str) else value


def name_of(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)

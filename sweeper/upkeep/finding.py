"""What `sweeper doctor` finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; without a remedy it is as it should be. `repair` is what --fix does."""

    subject: str
    what: str
    remedy: str | None = None
    repair: Callable[[], object] | None = None

    @property
    def sound(self) -> bool:
        return self.remedy is None

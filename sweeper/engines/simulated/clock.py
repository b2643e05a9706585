"""The time in which simulated trials run."""

from __future__ import annotations

import time


class VirtualClock:
    """Gives virtual seconds since the start. `began_ms` is the wall time of that, in milliseconds; by default now."""

    def __init__(self, began_ms: int | None = None):
        self._now = 0.0
        self._began_ms = int(time.time() * 1000) if began_ms is None else began_ms

    def __call__(self) -> float:
        return self._now

    def advance_to(self, moment: float) -> None:
        """Go forward; a moment that has passed changes nothing."""
        self._now = max(self._now, moment)

    @property
    def now_ms(self) -> int:
        return self._began_ms + int(self._now * 1000)

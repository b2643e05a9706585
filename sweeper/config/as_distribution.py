"""What to write for a value that was meant as a distribution, in the way of another program."""

from __future__ import annotations

from typing import Any

LOWS = ("min", "low", "lower", "from", "start")
HIGHS = ("max", "high", "upper", "to", "stop")
OPTIONS = ("values", "options", "choices", "categorical", "grid", "in", "list")
EVEN = ("uniform", "range", "quniform")
BY_DECADES = ("loguniform", "log_uniform", "qloguniform")
DECADES = 100
"""From this ratio of the ends on a range is offered by decades."""


def as_distribution(value: Any) -> str:
    """Return `; write {...}` for a list or mapping that looks like a distribution; nothing for any other value."""
    written = _written(value)
    return f"; write {written}" if written else ""


def _written(value: Any) -> str | None:
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, dict):
        return None
    for name, inner in value.items():
        if name in OPTIONS and isinstance(inner, list) and inner:
            return _choice(inner)
        if name in (*EVEN, *BY_DECADES) and _is_range(inner):
            return _range(inner[0], inner[1], log=name in BY_DECADES)
    ends: Any = [next((value[key] for key in keys if key in value), None) for keys in (LOWS, HIGHS)]
    by_decades = value.get("log")
    log = by_decades if isinstance(by_decades, bool) else None
    return _range(ends[0], ends[1], log=log) if _is_range(ends) else None


def _of_list(value: list[Any]) -> str | None:
    if not value or any(isinstance(item, list | dict) for item in value):
        return None
    if _is_range(value):
        return f"{_range(value[0], value[1])} for a range, or {_choice(value)} for these values alone"
    return _choice(value)


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list) and all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value
    )
    return bool(numbers and len(value) == 2 and value[0] < value[1])


def _range(low: float, high: float, *, log: bool | None = None) -> str:
    kind = "int" if isinstance(low, int) and isinstance(high, int) else "float"
    by_decades = low > 0 and high / low >= DECADES if log is None else log and low > 0
    return f"{{{kind}: [{_plain(low)}, {_plain(high)}]{', log: true' if by_decades else ''}}}"


def _choice(items: list[Any]) -> str:
    return f"{{choice: [{', '.join(map(_plain, items))}]}}"


def _plain(item: Any) -> str:
    if item is None or isinstance(item, bool):
        return {None: "null", True: "true", False: "false"}[item]
    return f"{item:g}" if isinstance(item, float) else str(item)

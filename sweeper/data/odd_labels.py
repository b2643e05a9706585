"""Labels that are no class: several in one, as of multi-label data, or numbers that measure something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

SEPARATORS = ("|", ";", ",")
SHOWN = 3
"""Labels that a line names."""


def odd_labels(classes: Sequence[str]) -> str:
    """Return what makes the classes of a data set look like no classes, in a sentence, or nothing."""
    if combined := _several_in_one(classes):
        shown = ", ".join(map(repr, combined[:SHOWN]))
        return (
            f"labels such as {shown} look like several labels of one image: each of these {len(combined):,} is taken "
            "for a class of its own, since an image has one class here; several labels per image are not supported"
        )
    if measured := _measurements(classes):
        return (
            f"labels look like measurements, {min(measured):g} to {max(measured):g}: each of the {len(classes):,} "
            "values is taken for a class of its own; to predict a number (regression) is not supported, so put the "
            "values into a few named ranges, or leave it if they are names"
        )
    return ""


def _several_in_one(classes: Sequence[str]) -> list[str]:
    """Return the labels that consist of others, or of parts that other such labels have too.

    Where all labels have as many parts, as `red, large` and `blue, small` do, they are names.
    """
    for separator in SEPARATORS:
        parts = {name: [part.strip() for part in name.split(separator)] for name in classes}
        if len({len(of_one) for of_one in parts.values()}) == 1:
            continue
        held = Counter(part for of_one in parts.values() for part in set(of_one))
        found = [name for name, those in parts.items() if len(those) > 1 and all(held[part] > 1 for part in those)]
        if found:
            return found
    return []


def _measurements(classes: Sequence[str]) -> list[float]:
    """Return the numbers that all labels are, where one of them is no whole number."""
    try:
        numbers = [float(name) for name in classes]
    except ValueError:
        return []
    fractions = any(not number.is_integer() for number in numbers)
    return numbers if fractions and len(numbers) > 2 else []

"""A JSON file that encodes classes, `{"cat": 0}` or `{"0": "cat"}`: labels of a CSV file become names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.data.listing import enumerated
from sweeper.errors import DatasetError


def read_class_codes(file: Path) -> dict[str, str]:
    """Return the name of every class by its code, whichever way round the file has them.

    Raises:
        DatasetError: the file is not a flat JSON object of names and whole numbers, or two classes share a code.
    """
    pairs = _pairs(file)
    if all(_is_code(value) for value in pairs.values()) and not all(_is_code(key) for key in pairs):
        pairs = _inverted(pairs, file)
    elif not all(_is_code(key) for key in pairs):
        raise DatasetError(f'{file}: needs classes and whole numbers, {{"cat": 0}} or {{"0": "cat"}}; correct it')
    repeated = sorted({name for name in pairs.values() if list(pairs.values()).count(name) > 1})
    if repeated:
        raise DatasetError(f"{file}: every class has one code, {enumerated(repeated).strip()} has several; correct it")
    return pairs


def _pairs(file: Path) -> dict[str, str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: cannot be read as JSON ({error}); check the file") from error
    if not isinstance(content, dict) or not content:
        raise DatasetError(f'{file}: needs a JSON object such as {{"cat": 0}} or {{"0": "cat"}}')
    nested = [key for key, value in content.items() if not isinstance(value, str | int) or isinstance(value, bool)]
    if nested:
        raise DatasetError(f"{file}: every value is a name or a whole number, not so of:\n{enumerated(nested)}")
    return {key.strip(): str(value).strip() for key, value in content.items()}


def _is_code(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _inverted(pairs: Mapping[str, str], file: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for name, code in pairs.items():
        if code in names:
            raise DatasetError(f"{file}: {names[code]!r} and {name!r} have the same code {code}; correct it")
        names[code] = name
    return names


def decoded_labels(labels: Sequence[str], codes: Mapping[str, str], file: Path) -> list[str]:
    """Return the names of labels that are codes; names that the file knows stay.

    Raises:
        DatasetError: a label is neither.
    """
    names = set(codes.values())
    unknown = sorted({label for label in labels if label not in codes and label not in names})
    if unknown:
        raise DatasetError(f"{file}: {len(unknown):,} labels are not in it:\n{enumerated(unknown)}\nAdd them.")
    return [codes.get(label, label) for label in labels]

"""A JSON file that encodes classes, `{"cat": 0}` or `{"0": "cat"}`: labels of a CSV file become names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sweeper.data.listing import enumerated
from sweeper.errors import DatasetError


def read_class_codes(file: Path, labels: Collection[str]) -> dict[str, str]:
    """Return the name of every class by its code, whichever way round the file has them.

    Where all names are numbers too, the codes are those that hold all of `labels`.

    Raises:
        DatasetError: the file is not a flat JSON object of names and whole numbers, two classes share a code, or
            the file can be read either way.
    """
    pairs = _pairs(file)
    coded_values, coded_keys = all(map(_is_code, pairs.values())), all(map(_is_code, pairs))
    if not (coded_values or coded_keys):
        raise DatasetError(f'{file}: needs classes and whole numbers, {{"cat": 0}} or {{"0": "cat"}}; correct it')
    if coded_values and (not coded_keys or _values_are_codes(pairs, set(labels), file)):
        pairs = _inverted(pairs, file)
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


def _values_are_codes(pairs: Mapping[str, str], labels: set[str], file: Path) -> bool:
    """Return whether it is the values that are the codes of labels, where names are numbers as well."""
    by_key, by_value = labels <= set(pairs), labels <= set(pairs.values())
    if by_key and by_value and any(key != value for key, value in pairs.items()):
        key, value = next((key, value) for key, value in pairs.items() if key != value)
        raise DatasetError(
            f"{file}: names and codes are both numbers, so that {json.dumps({key: value})} may give class {key} the "
            f"code {value}, or the code {key} to class {value}; give the classes names that are not numbers, "
            f'such as "class-{key}"'
        )
    return by_value and not by_key


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
    """Return the names of labels that are codes; names that the file knows stay, unless some name is also a code.

    Raises:
        DatasetError: a label is neither.
    """
    names = set(codes.values())
    if names & set(codes):
        names = set()
    unknown = sorted({label for label in labels if label not in codes and label not in names})
    if unknown:
        raise DatasetError(f"{file}: {len(unknown):,} labels are not in it:\n{enumerated(unknown)}\nAdd them.")
    return [codes.get(label, label) for label in labels]

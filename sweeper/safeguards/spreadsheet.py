"""CSV tables that a spreadsheet opens without computing anything, and that come back as they were.

A spreadsheet takes a cell that begins with =, +, -, @ or a control character for a formula. Such a text is written
behind an apostrophe, with escapes for control characters, blanks at its ends and backslashes; numbers stay numbers.
`read_cell` takes that back, and leaves every other text alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

FORMULA = "=+\\-@＝＋－＠"  # noqa: RUF001  # their wide forms too, which some spreadsheets take for the same
CONTROL = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
"""What steers a terminal, turns text round, ends a line or is not UTF-8."""

DANGEROUS = re.compile(rf"[{FORMULA}\s]|.*\s\Z|[^{CONTROL}]*[{CONTROL}]")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)")
WRITTEN = re.compile(rf"'(?:[{FORMULA}'].*|.*\\.*)", re.DOTALL)
ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")
TO_ESCAPE = re.compile(rf"[\\{CONTROL}]|\A\s|\s\Z")  # readers take blanks at the ends away
TO_QUOTE = re.compile(r"[\",;\t']")  # a semicolon parts cells where the comma is the decimal sign

Cell = str | float | None


def table(rows: Iterable[Sequence[Cell]]) -> str:
    """Return rows as CSV text, a line each."""
    return "".join(f"{','.join(map(_field, row))}\n" for row in rows)


def _field(cell: Cell) -> str:
    text = written_cell(cell) if isinstance(cell, str) else "" if cell is None else str(cell)
    return '"' + text.replace('"', '""') + '"' if TO_QUOTE.search(text) else text


def written_cell(text: str) -> str:
    """Return a text as it is written."""
    harmless = NUMBER.fullmatch(text) or not (DANGEROUS.match(text) or WRITTEN.fullmatch(text))
    return text if harmless else "'" + TO_ESCAPE.sub(lambda found: _escape(found[0]), text)


def read_cell(text: str) -> str:
    """Return the text that was written so."""
    if not text.startswith("'") or not WRITTEN.fullmatch(text):
        return text
    return ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)) if found[1] or found[2] else "\\", text[1:])


def read_table(lines: Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield line number and texts of every row that is not empty. Raises ValueError for what is not CSV.

    A quote that is never closed would swallow all rows after it.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            begins = reader.line_num + 1
            texts = read_row(cells)
            if any(texts):
                yield reader.line_num, texts
    except csv.Error as error:
        lines_of = f"line {begins}" if reader.line_num <= begins else f"lines {begins} to {reader.line_num}"
        raise ValueError(f"{lines_of}: {error}; is a quote not closed?") from error


def delimiter_of(header: str) -> str:
    """Return what parts the cells of a table, by its first line: a comma, a semicolon or a tab."""
    return max(",;\t", key=header.count)


def read_row(cells: list[str]) -> list[str]:
    """Return the texts of a row, without the blanks around them."""
    bare = [cell.strip() for cell in cells]
    return [read_cell(cell) for cell in bare] if "'" in "".join(bare) else bare  # one search for a million rows


def _escape(character: str) -> str:
    number = ord(character)
    return "\\\\" if character == "\\" else f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"

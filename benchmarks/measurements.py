"""What a benchmark found: every single figure, as a table in the terminal, in Markdown and as JSON.

Figures of one section were measured in one run, interleaved, so that their ratios hold on a noisy
machine; their absolute values are those of that machine on that day.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import conditions

RESULTS = Path(os.environ.get("SWEEPER_RESULTS") or Path(__file__).parent / "results")
ON_GPU = "gpu"  # the folder below it of what was measured on a machine with one
Rows = dict[str, list[float]]
"""What was measured, by name and unit, once for each repeat."""

HEADINGS = ("", "median", "smallest", "largest", "n", "wanted")


@dataclass(frozen=True)
class Measurement:
    """One quantity, measured several times; a ratio may have a demand on its median."""

    name: str
    unit: str
    values: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        above = self.at_least is None or self.median >= self.at_least
        return above and (self.at_most is None or self.median <= self.at_most)

    def cells(self) -> list[str]:
        """Return the cells of a row: name, median, smallest, largest, how many, what was wanted."""
        shown = [figure(value) for value in (self.median, min(self.values), max(self.values))]
        name = f"{self.name}, {self.unit}" if self.unit else self.name
        return [name, *shown, str(len(self.values)), self._wanted()]

    def _wanted(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        rule = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{rule}: {'met' if self.met else 'missed'}"


@dataclass(frozen=True)
class Section:
    """Measurements that were made side by side."""

    title: str
    rows: Sequence[Measurement]
    note: str = ""

    def table(self) -> Table:
        shown = Table(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for heading in HEADINGS:
            shown.add_column(heading, justify="left" if heading in ("", "wanted") else "right")
        for row in self.rows:
            shown.add_row(*row.cells())
        return shown

    def markdown(self) -> str:
        lines = [f"**{self.title}**", "", _line(HEADINGS), "|---|---:|---:|---:|---:|---|"]
        lines += [_line(row.cells()) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True)
class Result:
    """All sections of one benchmark with the conditions they were measured under."""

    benchmark: str
    images: str
    sections: list[Section] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=conditions)

    def add(self, section: Section) -> None:
        """Show a section, and write all there are so far: a benchmark that is cut short loses none."""
        self.sections.append(section)
        Console().print(section.table())
        folder = RESULTS / ON_GPU if self.conditions["machine"]["gpu"] else RESULTS
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        for shown, kept in zip(self.sections, content["sections"], strict=True):
            for row, stored in zip(shown.rows, kept["rows"], strict=True):
                stored["median"] = row.median
        (folder / f"{self.benchmark}.json").write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        content = json.loads(path.read_text())
        for section in content["sections"]:
            for row in section["rows"]:
                del row["median"]
        sections = [
            Section(section["title"], [Measurement(**row) for row in section["rows"]], section["note"])
            for section in content["sections"]
        ]
        return cls(content["benchmark"], content["images"], sections, content["conditions"])


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of every pair that was measured one after the other."""
    return [left / right for left, right in zip(above, below, strict=True)]


def figure(value: float) -> str:
    """Return a value in three digits or more: 0.958, 12.3, 4,621."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

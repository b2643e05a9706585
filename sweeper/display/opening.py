"""What is reported before the first trial, as lines: for terminals, pipes and log files alike."""

from __future__ import annotations

from sweeper.study.opening import Opening

WARNING = "warning: "


def opening_lines(opening: Opening) -> list[str]:
    """Return a line for each fact, its subject in a column of its own, and then the warnings."""
    width = max((len(subject) for subject, _ in opening.facts), default=0)
    facts = [f"{subject:<{width}}  {_indented(text, width + 2)}" for subject, text in opening.facts]
    return [*facts, *(f"{WARNING}{text}" for text in opening.warnings)]


def _indented(text: str, columns: int) -> str:
    return text.replace("\n", "\n" + " " * columns)

"""The search spaces that come with sweeper, with the networks that they name: to be copied and run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

WITH_SWEEPER = Path(__file__).parents[1] / "examples"
"""In a checkout two links to the folders of the repository, in an installed package the files themselves."""

SPACES = "search_spaces"
MODELINE = "# yaml-language-server:"
HEAD = "# An example of sweeper, copied by"


@dataclass(frozen=True)
class Example:
    """A search space that comes with sweeper.

    `about` is its first sentence, `files` are what it needs beside itself, by the paths that it names.
    """

    name: str
    about: str
    text: str
    files: tuple[Path, ...]

    def source(self, file: Path) -> Path:
        """Return where one of its files lies in the package."""
        return WITH_SWEEPER / file


def examples() -> dict[str, Example]:
    """Return all examples by name."""
    return {path.stem: _read(path) for path in sorted((WITH_SWEEPER / SPACES).glob("*.yaml"))}


def _read(path: Path) -> Example:
    text = path.read_text(encoding="utf-8")
    return Example(path.stem, _first_sentence(text), _without_modeline(text, path.stem), _files(text))


def _first_sentence(text: str) -> str:
    """Return what the comment at the top of a search space says first."""
    comment = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and not line.startswith(MODELINE)]
    joined = " ".join(comment).strip()
    return re.split(r"(?<=[.])\s", joined, maxsplit=1)[0]


def _without_modeline(text: str, name: str) -> str:
    """Return a search space without the address of the schema, which is not copied."""
    first, _, rest = text.partition("\n")
    return f"{HEAD} `sweeper init --example {name}`.\n{rest if first.startswith(MODELINE) else text}"


def _files(text: str) -> tuple[Path, ...]:
    return tuple(map(Path, yaml.safe_load(text).get("model_files", ())))

"""Print the unit tests of what differs from the last commit: changed test files, and those that import changed modules.

    pytest $(python -m tests.of_changes)

A module that no unit test imports is tested by all tests of its room.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

LONG = {"chaos", "cluster", "cuda", "field", "functional", "services", "simulation", "slurm"}
"""Rooms whose tests run the whole program; `make test test-sweeps` does."""


def changed_files() -> list[Path]:
    """Return the files under git that differ from the last commit, and the new ones."""
    asked = (["diff", "--name-only", "--diff-filter=d", "HEAD"], ["ls-files", "--others", "--exclude-standard"])
    answers = (subprocess.run(["git", *one], check=True, capture_output=True, text=True).stdout for one in asked)
    return [Path(line) for answer in answers for line in answer.splitlines()]


def importers_of(changed: list[Path], tests: dict[Path, str]) -> set[Path]:
    """Return the tests of changed files; `tests` holds the text of each test file."""
    found = {path for path in changed if path in tests}
    for path in changed:
        if path.parts[0] == "sweeper" and path.suffix == ".py":
            imported = _importing(path)
            own = {test for test, text in tests.items() if imported.search(text)}
            room = Path("tests", *path.parts[1:2])
            found |= own or {test for test in tests if room in test.parents}
    return found


def _importing(module: Path) -> re.Pattern[str]:
    """Return what finds an import of a module: from it, of it, or of its name out of its package."""
    parts = module.with_suffix("").parts
    package, name = re.escape(".".join(parts[:-1])), re.escape(parts[-1])
    return re.compile(rf"(from|import) {package}\.{name}\b|from {package} import .*\b{name}\b")


def unit_tests() -> dict[Path, str]:
    """Return the text of each test file that is quick."""
    paths = (path for path in Path("tests").rglob("test_*.py") if not LONG & set(path.parts))
    return {path: path.read_text() for path in paths}


if __name__ == "__main__":
    print(*sorted(map(str, importers_of(changed_files(), unit_tests()))))

"""The examples of docs/extending.md work: each alone, and all of them in one sweep."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from tests.functional.program import REPOSITORY, environment
from tests.pictures import write_picture

pytestmark = pytest.mark.slow  # a copy of the repository runs the tests of all examples

COPIED = ("sweeper", "tests", "models", "pyproject.toml")
CONTRACTS = {
    "A data layout": ("test_layouts", "jsonl"),
    "A metric": ("test_tasks", "classification"),
    "A pruner": ("test_pruners", "gap"),
    "An engine": ("test_engines", "command"),  # three tests of it, since each starts a process that imports torch
}
"""Of the sections that have one: the contract, and the name that it is held to."""

SOME = "answered_with_prune or killed_worker or given_up"

SPACE = """
study: extended
dataset: {path: images, layout: jsonl}
budget: {trials: 2, epochs: 2}
objective: {metric: val/kappa}
pruner: gap
device: cpu
model_files: [models/tiny_net.py]
search:
  backbone: tiny_net
  image_size: 12
  batch_size: 8
  optimizer: {name: asgd, lr: {float: [0.01, 0.1]}}
  scheduler: {name: polynomial, power: 1}
  augment: {grayscale: 0.5}
"""


@dataclass(frozen=True)
class Example:
    """The new files and the diffs of a section."""

    title: str
    files: dict[str, str]
    diffs: tuple[str, ...]

    @property
    def tests(self) -> list[str]:
        return [name for name in self.files if name.startswith("tests/")]

    @property
    def touched(self) -> set[str]:
        """Files of the package, tests left aside."""
        changed = re.findall(r"^\+\+\+ b/(.+)$", "".join(self.diffs), re.MULTILINE)
        return {name for name in (*self.files, *changed) if not name.startswith("tests/")}

    def apply(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).write_text(text)
        if self.diffs:  # outside of any repository, since `git apply` passes over what its own repository does not hold
            without = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
            diff = "".join(self.diffs)
            done = subprocess.run(
                ["git", "apply", "-"], input=diff, cwd=folder, env=without, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{self.title}: {done.stderr}"


def examples() -> list[Example]:
    page = (REPOSITORY / "docs" / "extending.md").read_text()
    found = []
    for section in page.split("\n## ")[1:]:
        files = dict(re.findall(r"^`([^`\n]+)`, new:\n\n```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
        diffs = tuple(re.findall(r"^```diff\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
        found.append(Example(section.partition("\n")[0], files, diffs))
    return found


EXAMPLES = examples()


def copied(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all examples in it."""
    folder = copied(tmp_path_factory.mktemp("extended") / "copy")
    for example in EXAMPLES:
        example.apply(folder)
    return folder


@pytest.fixture(scope="module")
def results(extended: Path) -> dict[str, bool]:
    """Whether each test of the copy passed: those that the page shows, and the contracts of what it adds."""
    own = [name for example in EXAMPLES for name in example.tests]
    contracts = sorted({f"tests/conformance/{module}.py" for module, _ in CONTRACTS.values()})
    others = [part for _, part in CONTRACTS.values() if part != "command"]
    wanted = " or ".join([*(Path(name).stem for name in own), *others, f"command and ({SOME})"])
    done = python(
        extended,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--junitxml=results.xml",
        *own,
        *contracts,
        "-k",
        wanted,
    )
    assert (extended / "results.xml").exists(), done.stdout + done.stderr
    cases = ElementTree.parse(extended / "results.xml").iter("testcase")  # noqa: S314 (pytest has written it)
    return {f"{case.get('classname')}.{case.get('name')}": len(case) == 0 for case in cases}


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {**environment(), "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=settings, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_an_example_applies_by_itself_and_touches_three_files_at_most(example: Example, tmp_path: Path) -> None:
    example.apply(copied(tmp_path / "copy"))
    assert 1 <= len(example.touched) <= 3
    assert example.tests or example.title in CONTRACTS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_the_tests_of_an_example_pass_in_a_copy_that_has_it(example: Example, results: dict[str, bool]) -> None:
    own = [name for test in example.tests for name in results if name.startswith(test[:-3].replace("/", ".") + ".")]
    module, part = CONTRACTS.get(example.title, ("", ""))
    contract = [name for name in results if module and f".{module}." in name and part in name.rpartition("[")[2]]
    assert bool(own) is bool(example.tests)
    assert bool(contract) is bool(module)
    assert [name for name in (*own, *contract) if not results[name]] == []


def test_a_sweep_runs_with_all_examples_at_once(extended: Path) -> None:
    rows = []
    for number in range(16):
        write_picture(extended / "images" / f"{number}.png", number)
        split = "train" if number < 10 else "val"
        rows.append({"path": f"{number}.png", "label": "cat" if number % 2 else "dog", "split": split})
    (extended / "images" / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (extended / "space.yaml").write_text(SPACE)
    done = python(extended, "-m", "sweeper", "run", "space.yaml", "--workers", "1", "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name="extended", storage=f"sqlite:///{extended / 'optuna.db'}")
    assert all(-1 <= trial.value <= 1 for trial in study.trials if trial.value is not None)
    assert len(study.trials) == 2


@pytest.mark.slow
def test_the_engine_of_the_page_keeps_the_whole_contract(extended: Path) -> None:
    contract = "tests/conformance/test_engines.py"
    done = python(extended, "-m", "pytest", "-p", "no:cacheprovider", contract, "-k", "command")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[100%]" in done.stdout

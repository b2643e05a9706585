"""The wheel, installed outside the checkout, is all that a user needs: no repository, no git.

By `make wheel` it is installed with all that it depends on, into an empty environment; else it borrows that from the
environment of the tests, which is there within a second.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.program import REPOSITORY
from tests.library.test_library import write_photos

SOURCES = ("pyproject.toml", "README.md", "LICENSE")
EMPTY = "SWEEPER_EMPTY_ENVIRONMENT" in os.environ

LIBRARY = """
import sweeper

assert sweeper.__file__.startswith({environment!r}), sweeper.__file__
study = sweeper.open_study("photos")
assert study.best.model().training is False
print(sweeper.load_export("exports/photos").predict("photos/val/dark")["class"].tolist())
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder in which its programs run."""

    path: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, with nothing else to be found on the path."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "OMP_NUM_THREADS")}
        found = {**kept, "PATH": str(self.path / "bin")}
        command = [str(self.path / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=found, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built from a copy: setuptools writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "sweeper", source / "sweeper", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, capture_output=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that has the wheel, and has or borrows all that it depends on."""
    folder = tmp_path_factory.mktemp("elsewhere")
    path = folder / "env"
    venv.create(path, with_pip=False, symlinks=True)
    install = [sys.executable, "-m", "pip", "--python", str(path / "bin" / "python"), "install", str(wheel)]
    if EMPTY:
        command = [*install, "--constraint", str(REPOSITORY / "constraints.txt")]
    else:
        inside = next(path.glob("lib/python*/site-packages"))
        (inside / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        command = [*install, "--no-deps", "--no-index", "--force-reinstall", "--ignore-installed"]
    subprocess.run(command, check=True, capture_output=True, timeout=1500)
    write_photos(folder / "photos")
    return Environment(path, folder)


@pytest.mark.slow
def test_the_wheel_alone_proposes_runs_exports_reports_and_is_a_library(environment: Environment) -> None:
    assert not shutil.which("git", path=str(environment.path / "bin"))
    environment.run("sweeper", "init", "photos", "--hours", "0.02", "--no-recipes")
    quick = ("--trials", "2", "--epochs", "1", "--set", "budget.for=null", "--set", "search.backbone=test_resnet")
    plain = ("--set", "search.pretrained=false", "--set", "search.image_size=32", "--set", "pruner=none")
    environment.run("sweeper", "run", "space.yaml", *quick, *plain)
    environment.run("sweeper", "best", "photos", "--export")
    environment.run("sweeper", "report", "photos")
    assert (environment.folder / "reports" / "photos.html").stat().st_size > 1_000_000
    done = environment.run("python", "-c", LIBRARY.format(environment=str(environment.path)))
    assert done.stdout.count("dark") + done.stdout.count("light") == 8
    notebook = json.loads((REPOSITORY / "docs" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    environment.run("python", "-c", "\n".join(cells))
    label = (str(environment.folder / "exports" / "photos" / "label.py"), "photos/val/dark/0.png")
    assert environment.run("python", *label).stdout.startswith("photos/val/dark/0.png\t")

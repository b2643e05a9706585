"""A script that calls the library at its top level is told what to change, and never hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.functional.program import environment

SCRIPT = """
from pathlib import Path
from sweeper.config.dataset import DatasetConfig
from sweeper.data.prepare import prepare_images
from sweeper.paths import Workspace
{guard}print(len(prepare_images(DatasetConfig(path="photos", val_fraction=0.2), 16, Workspace(Path.cwd())).paths))
"""


def run(folder: Path, guard: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT.format(guard=guard))
    command = [sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(150):  # more than one process decodes
            pixels = dice.integers(0, 256, (90, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    told = run(tmp_path, guard="")
    assert told.returncode != 0
    assert 'put what calls sweeper below `if __name__ == "__main__":`' in told.stderr
    guarded = run(tmp_path, guard='if __name__ == "__main__": ')
    assert (guarded.returncode, guarded.stdout) == (0, "300\n"), guarded.stderr

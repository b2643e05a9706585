"""A script that calls the library at its top level runs once: no process that decodes images imports it."""

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
from sweeper.data.decoded_batches import decoded_batches
from sweeper.data.prepare import prepare_images
from sweeper.paths import Workspace
images = prepare_images(DatasetConfig(path="photos", val_fraction=0.2), 16, Workspace(Path.cwd()))
print(len(images.paths))
files = [str(path) for path in sorted(Path("photos").rglob("*.png"))]
print(sum(len(batch.rows) for batch in decoded_batches(files, 16, "crop", 50)))
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(150):  # more than one process decodes
            pixels = dice.integers(0, 256, (90, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "300\n300\n"), done.stderr

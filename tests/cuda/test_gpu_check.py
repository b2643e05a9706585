"""`make gpu-check` runs to its end on a GPU that is not there, so that no minute of a real one goes to a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.gpu_check import ARCHIVE, PARTS
from tests.cuda.stand_in import SITE, StandIn

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDS_CUDNN = {"tests", "sweep"}
"""Parts whose numbers must be right, or that train by another trainer than ours."""


def cifar_like(folder: Path) -> Path:
    """Write as many small images, in as many classes, as CIFAR-10 has for the parts that are run."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    for split, count in (("train", 5000), ("test", 1000)):
        for label in range(10):
            target = folder / split / f"class{label}"
            target.mkdir(parents=True)
            first = target / "0.jpg"
            Image.fromarray(pixels[label]).save(first)
            for number in range(1, count):
                (target / f"{number}.jpg").hardlink_to(first)
    return folder


def check(stand_in: StandIn, folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": f"{SITE}{os.pathsep}{REPOSITORY}", "SWEEPER_RESULTS": str(folder / "results")}
    env = stand_in.environment(gpus="1") | paths
    return subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_part_of_the_gpu_check_runs_to_its_end(stand_in: StandIn, tmp_path: Path) -> None:
    parts = [part.name for part in PARTS if part.name not in NEEDS_CUDNN]
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--images", str(cifar_like(tmp_path / "cifar10"))]
    command += ["--out", str(tmp_path / "out"), "--factor", "12", "--only", *parts]
    done = check(stand_in, tmp_path, command)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in parts:
        assert f"== {part}: exit code 0" in done.stdout
    with tarfile.open(tmp_path / "out" / ARCHIVE) as archive:
        kept = {Path(name).name for name in archive.getnames()}
    assert {f"{part}.json" for part in parts} <= kept
    assert {f"{part}.txt" for part in parts} <= kept


@pytest.mark.slow
def test_a_part_that_hangs_is_stopped_at_its_limit_and_says_where_it_stood(stand_in: StandIn, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--factor", "0.1", "--only", "ceiling"]
    done = check(stand_in, tmp_path, command)
    assert done.returncode == 1
    assert "== ceiling: stopped at its limit of 4 s" in done.stdout
    assert 'File "' in done.stdout

"""Weights that studies begin with are kept once, whoever keeps them at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeper.paths import Workspace
from sweeper.study.pretrained import file_digest, keep
from sweeper.training.compiling import Compilation, StepTimes


def test_weights_are_kept_by_many_at_once(tmp_path: Path) -> None:
    workspace, weights = Workspace(tmp_path), tmp_path / "weights.safetensors"
    weights.write_bytes(bytes(range(256)) * 4096)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: keep(workspace, weights), range(40)))
    (digest,) = found
    assert file_digest(workspace.weights(digest)) == digest == file_digest(weights)


def test_times_of_compiled_steps_are_kept_by_many_at_once(tmp_path: Path) -> None:
    compilation = Compilation("auto", tmp_path / "kind" / "times.json")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda place: compilation.remember(StepTimes(plain_s=float(place))), range(80)))
    assert compilation.recall().plain_s in range(80)

"""A disk that is full or read-only: reported with its remedy, no trial is blamed, and the study goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.errors import DiskError
from sweeper.files import file_lock, write_whole
from sweeper.results import TrialState
from tests.functional.chaos import STUDY, Sandbox, recorded, require_tidy


def test_a_file_in_place_of_a_folder_is_reported_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(DiskError, match=r"folder/x cannot be written: .*Free some space"):
        write_whole(tmp_path / "folder" / "x", b"")
    with (
        pytest.raises(DiskError, match="lock cannot be written"),
        file_lock(tmp_path / "folder" / "lock", blocking=False),
    ):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB; the size can be changed while it is in use."""
    if os.getuid() != 0 or mount("-t", "tmpfs", "-o", "size=60m", "tmpfs", str(tmp_path)) != 0:
        pytest.skip("only root can mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode


@pytest.mark.slow
def test_a_full_disk_stops_the_study_and_more_space_continues_it(small_disk: Path) -> None:
    sandbox = Sandbox.make(small_disk, budget={"trials": 3, "epochs": 8}, pruner="none")
    process = sandbox.start()
    filler = small_disk / "filler"
    while "trial 0 epoch 2/" not in sandbox.said():
        assert process.poll() is None, sandbox.said()
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    code = process.wait(300)
    filler.unlink()
    assert code == 4, sandbox.said()
    assert not [row for row in sandbox.rows() if row.state is TrialState.FAILED]
    assert sandbox.run() == 0, sandbox.said()
    assert {row.state for row in sandbox.rows()} == {TrialState.COMPLETE}
    assert [step for step, _, _ in recorded(sandbox)["trial-0000"]["train/loss"]] == list(range(1, 9))
    require_tidy(sandbox)


@pytest.mark.slow
def test_a_read_only_folder_is_refused_with_a_message(small_disk: Path) -> None:
    sandbox = Sandbox.make(small_disk)
    log = Path(f"{small_disk}-output.txt")
    assert mount("-o", "remount,ro", str(small_disk)) == 0
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                sandbox.command(), cwd=sandbox.root, env=sandbox.variables(), stdout=output, stderr=output
            )
            code = process.wait(300)
    finally:
        mount("-o", "remount,rw", str(small_disk))
    assert code == 4, log.read_text()
    assert "Read-only file system" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert not sandbox.workspace.study(STUDY).path.exists()

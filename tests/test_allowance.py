"""What a process may use of its machine, by the files in which a system says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sweeper.allowance import ControlGroup, available_bytes, is_throttled, usable_cores

GB = 1 << 30
SECOND, FIRST = "0::/jobs/7\n", "9:cpu,cpuacct:/jobs/7\n4:memory:/jobs/7\n0::/\n"


def group(root: Path, membership: str, files: dict[str, str]) -> ControlGroup:
    """Write what a system says, as files of these names and contents."""
    (root / "self").write_text(membership)
    for name, content in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return ControlGroup(root / "self", root / "cgroup")


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 cores and 500 GiB that are free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    memory = psutil.virtual_memory()._replace(available=500 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def test_without_limits_the_whole_machine_may_be_used(tmp_path: Path) -> None:
    for found in (
        ControlGroup(tmp_path / "none", tmp_path),
        group(tmp_path, SECOND, {"jobs/7/cpu.max": "max 100000\n", "jobs/7/memory.max": "max\n"}),
    ):
        assert (usable_cores(found), available_bytes(found), is_throttled(found)) == (64, 500 * GB, False)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (SECOND, {"jobs/7/cpu.max": "150000 100000\n"}),
        (SECOND, {"jobs/7/cpu.max": "max 100000\n", "jobs/cpu.max": "200000 100000\n"}),
        (SECOND, {"cpu.max": "200000 100000\n"}),
        (FIRST, {"cpu/jobs/7/cpu.cfs_quota_us": "200000\n", "cpu/jobs/7/cpu.cfs_period_us": "100000\n"}),
        (FIRST, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    ],
    ids=["a part of a core", "group around it", "container", "first version", "first version in a container"],
)
def test_a_share_of_the_cores_time_counts_as_so_many_cores(
    tmp_path: Path, membership: str, files: dict[str, str]
) -> None:
    found = group(tmp_path, membership, files)
    assert (usable_cores(found), is_throttled(found)) == (2, True)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (
            SECOND,
            {
                "jobs/7/memory.max": f"{16 * GB}\n",
                "jobs/7/memory.current": f"{10 * GB}\n",
                "jobs/7/memory.stat": f"anon 5\nfile 9\ninactive_file {3 * GB}\nactive_file {1 * GB}\n",
            },
        ),
        (
            FIRST,
            {
                "memory/memory.limit_in_bytes": f"{16 * GB}\n",
                "memory/memory.usage_in_bytes": f"{10 * GB}\n",
                "memory/memory.stat": f"active_file 1\ntotal_inactive_file {3 * GB}\ntotal_active_file {1 * GB}\n",
            },
        ),
    ],
    ids=["second version", "first version in a container"],
)
def test_memory_is_what_is_left_below_a_limit_and_what_files_hold(
    tmp_path: Path, membership: str, files: dict[str, str]
) -> None:
    assert available_bytes(group(tmp_path, membership, files)) == 10 * GB


def test_a_limit_that_means_none_is_none(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n"}
    assert available_bytes(group(tmp_path, FIRST, files)) == 500 * GB


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_a_process_that_is_bound_to_a_core_uses_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from sweeper.allowance import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"

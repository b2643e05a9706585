"""The kernel's count of kills for memory, in whichever file the system keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.allowance import ControlGroup
from sweeper.engines.oom_kills import count_oom_kills


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("membership", "counter"),
    [("0::/jobs/7\n", "jobs/7/memory.events"), ("4:cpu,memory:/jobs/7\n0::/\n", "memory/jobs/7/memory.oom_control")],
)
def test_the_count_of_our_own_control_group_comes_before_the_machines(
    tmp_path: Path, membership: str, counter: str
) -> None:
    member = write(tmp_path / "self", membership)
    vmstat = write(tmp_path / "vmstat", "pgfault 3\noom_kill 9\n")
    group = ControlGroup(member, tmp_path / "cgroup")
    assert count_oom_kills(group, vmstat) == 9
    write(tmp_path / "cgroup" / counter, "under_oom 0\noom_kill 2\n")
    assert count_oom_kills(group, vmstat) == 2


def test_a_system_that_does_not_say_gives_no_count(tmp_path: Path) -> None:
    assert count_oom_kills(ControlGroup(tmp_path / "none", tmp_path), tmp_path / "none") is None

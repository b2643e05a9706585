"""The kernel's own count of processes it has killed because memory ran out.

A worker that died by SIGKILL may have been killed by anyone. That the count has risen since shows
the kernel from a person; /var/log and dmesg would too, but are closed to most users.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
VMSTAT = Path("/proc/vmstat")  # the whole machine's: where control groups say nothing


def count_oom_kills(
    membership: Path = Path("/proc/self/cgroup"), cgroups: Path = CGROUPS, vmstat: Path = VMSTAT
) -> int | None:
    """Return how often the kernel has killed for memory in our control group, else on this machine.

    None where the system does not say.
    """
    for file in (*_counters(membership, cgroups), vmstat):
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _counters(membership: Path, cgroups: Path) -> Iterator[Path]:
    """Yield where the count of our control group may stand, for both versions of them."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        inside = group.lstrip("/")
        if "memory" in controllers.split(","):
            yield cgroups / "memory" / inside / "memory.oom_control"
        elif not controllers:
            yield cgroups / inside / "memory.events"

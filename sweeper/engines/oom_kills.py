"""The kernel's own count of processes it has killed because memory ran out.

A worker that died by SIGKILL may have been killed by anyone. That the count has risen since shows
the kernel from a person; /var/log and dmesg would too, but are closed to most users.
"""

from __future__ import annotations

import re
from pathlib import Path

from sweeper.allowance import OURS, ControlGroup

VMSTAT = Path("/proc/vmstat")  # the whole machine's: where control groups say nothing


COUNTERS = ("memory.events", "memory.oom_control")
"""In a control group, of the second and of the first version."""


def count_oom_kills(group: ControlGroup = OURS, vmstat: Path = VMSTAT) -> int | None:
    """Return how often the kernel has killed for memory in our control group, else on this machine.

    None where the system does not say.
    """
    counters = [folder / name for folder in group.folders("memory") for name in COUNTERS]
    for file in (*counters, vmstat):
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None

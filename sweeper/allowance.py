"""How many cores and how much memory this process may use: a job or a container often has only a part of its machine.

A scheduler binds a job to some cores (affinity), or a control group bounds its share of their time and its memory. The
machine's own numbers are much larger then, and who goes by them is slow, or is killed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BYTES_WITHOUT_LIMIT = 1 << 60
"""A limit from here on is none: the first version of control groups has no word for that."""


@dataclass(frozen=True)
class ControlGroup:
    """The control group of this process, of either version of them, and the groups around it.

    Within a container the path that the system gives may be the host's; its own files then lie at the top.
    """

    membership: Path = Path("/proc/self/cgroup")
    root: Path = Path("/sys/fs/cgroup")

    def folders(self, controller: str) -> Iterator[Path]:
        """Yield the folders with the files of a controller, such as memory, from the process's own one upwards."""
        try:
            lines = self.membership.read_text(encoding="utf-8").splitlines()
        except OSError:  # not on Linux
            return
        for line in lines:
            _, controllers, group = line.split(":", 2)
            inside = Path(group.lstrip("/"))
            top = self.root if not controllers else self.root / controller
            if not controllers or controller in controllers.split(","):
                yield from (top / part for part in (inside, *inside.parents))


OURS = ControlGroup()


def usable_cores(group: ControlGroup = OURS) -> int:
    """Return how many cores this process may use at once, at least 1."""
    usable: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # of Linux alone
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return min([cores, *(max(1, math.ceil(share)) for share in _shares_of_time(group))])


def is_throttled(group: ControlGroup = OURS) -> bool:
    """Return whether this process sees more cores than it gets the time of, so that a thread on each would wait."""
    return usable_cores(group) < usable_cores(ControlGroup(Path(os.devnull)))


def available_bytes(group: ControlGroup = OURS) -> int:
    """Return the memory that the machine can still give this process, in bytes: it has it, and no limit is reached."""
    import psutil  # not at the top: processes that decode images start the sooner without it

    free: int = psutil.virtual_memory().available
    return max(0, min([free, *_left_below_limits(group)]))


def _shares_of_time(group: ControlGroup) -> Iterator[float]:
    """Yield how many cores' time control groups allow."""
    for folder in group.folders("cpu"):
        words = _text(folder / "cpu.max").split()
        if not words:
            words = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        if all(word.isdecimal() and int(word) for word in words) and len(words) == 2:  # else "max", or -1
            yield int(words[0]) / int(words[1])


def _left_below_limits(group: ControlGroup) -> Iterator[int]:
    """Yield how much memory is left below the limit of each control group that has one, in bytes.

    What the group holds of files counts as free: the kernel gives it back before it kills.
    """
    for folder in group.folders("memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is None or used is None or limit >= BYTES_WITHOUT_LIMIT:
            continue
        stat = _text(folder / "memory.stat")
        files = re.findall(r"^total_(?:in)?active_file (\d+)$", stat, re.MULTILINE)
        files = files or re.findall(r"^(?:in)?active_file (\d+)$", stat, re.MULTILINE)
        yield limit - used + min(used, sum(map(int, files)))


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:  # there is none
        return ""

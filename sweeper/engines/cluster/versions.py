"""What two machines must have in common for their trials to be comparable."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from sweeper import __version__

COMPARED = ("torch", "torchvision", "timm", "numpy", "pillow")
"""Packages whose version changes what a trial computes."""


@dataclass(frozen=True)
class Versions:
    """The versions of Python, of sweeper and of the packages that trials are computed by."""

    of: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls) -> Versions:
        python = ".".join(platform.python_version_tuple()[:2])
        found = [("python", python), ("sweeper", __version__), *((name, _version(name)) for name in COMPARED)]
        return cls(tuple(found))

    def differences(self, other: Versions) -> list[str]:
        """Return in words where `other`, of a node, differs from this machine's."""
        theirs = dict(other.of)
        return [f"{name} {theirs.get(name)}, here {ours}" for name, ours in self.of if theirs.get(name) != ours]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"

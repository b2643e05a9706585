"""The small trial and its export that all tests of exports use."""

from tests.export.conftest import exported, folder, report, source, trial, val

__all__ = ["exported", "folder", "report", "source", "trial", "val"]

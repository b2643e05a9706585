"""An experiment sweep orchestrator for image classifiers: a search space in, the best model out.

The names of the library are loaded when they are first used, so that `import sweeper` takes no time; `docs/library.md`
shows how they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig as SweepConfig
    from sweeper.errors import ConfigError as ConfigError
    from sweeper.errors import DamagedFile as DamagedFile
    from sweeper.errors import DatasetError as DatasetError
    from sweeper.errors import DeviceError as DeviceError
    from sweeper.errors import DiskError as DiskError
    from sweeper.errors import ExportError as ExportError
    from sweeper.errors import ForeignStudy as ForeignStudy
    from sweeper.errors import NoWinner as NoWinner
    from sweeper.errors import StudyChanged as StudyChanged
    from sweeper.errors import StudyError as StudyError
    from sweeper.errors import StudyLocked as StudyLocked
    from sweeper.errors import StudyNotFound as StudyNotFound
    from sweeper.errors import SweeperError as SweeperError
    from sweeper.errors import TrackingError as TrackingError
    from sweeper.errors import TrackingRefused as TrackingRefused
    from sweeper.library.estimator import ImageClassifierSweep as ImageClassifierSweep
    from sweeper.library.events import EpochFinished as EpochFinished
    from sweeper.library.events import TrialFinished as TrialFinished
    from sweeper.library.exported import Export as Export
    from sweeper.library.exported import load_export as load_export
    from sweeper.library.run import run as run
    from sweeper.library.space import load_space as load_space
    from sweeper.library.study import Study as Study
    from sweeper.library.study import open_study as open_study
    from sweeper.library.trial import Trial as Trial

_HOMES = {
    "sweeper.config.sweep": ("SweepConfig",),
    "sweeper.errors": (
        "ConfigError",
        "DamagedFile",
        "DatasetError",
        "DeviceError",
        "DiskError",
        "ExportError",
        "ForeignStudy",
        "NoWinner",
        "StudyChanged",
        "StudyError",
        "StudyLocked",
        "StudyNotFound",
        "SweeperError",
        "TrackingError",
        "TrackingRefused",
    ),
    "sweeper.library.estimator": ("ImageClassifierSweep",),
    "sweeper.library.events": ("EpochFinished", "TrialFinished"),
    "sweeper.library.exported": ("Export", "load_export"),
    "sweeper.library.run": ("run",),
    "sweeper.library.space": ("load_space",),
    "sweeper.library.study": ("Study", "open_study"),
    "sweeper.library.trial": ("Trial",),
}
"""The module of each public name."""

_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_MODULES]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name from its module when it is first used."""
        from importlib import import_module

        if name not in _MODULES:
            raise AttributeError(f"module 'sweeper' has no attribute {name!r}")
        found = getattr(import_module(_MODULES[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})

"""How long the export of a trial will take on this machine, before one has been made."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sweeper.child_process import live_with_parent, start_prepared
from sweeper.config.sweep import SweepConfig
from sweeper.data.image_set import ImageSet
from sweeper.results import TrialSpec

logger = logging.getLogger(__name__)

WRITING_S = 15.0
"""For writing the files of an export; a small network takes 5 s on an idle machine."""

PASSES = 2.5
"""Over the validation images on the CPU: the weights and the torch.export program, and ONNX Runtime at twice the speed.

On a GPU the weights take next to nothing, which is not counted on.
"""


Kind = tuple[str, int, str]
"""What the time of a forward pass depends on: backbone, image size and test-time augmentation."""


@dataclass
class _Timing:
    """A network that a process of its own times; the driver waits for nothing, and needs no torch."""

    process: BaseProcess
    connection: Connection
    image_s: float | None = None

    def ended(self) -> bool:
        """Return whether it is known how long an image takes; 0 for a network that could not be run."""
        if self.image_s is None and self.connection.poll():
            self.image_s = 0.0
            with suppress(EOFError):
                self.image_s = self.connection.recv()
            self.connection.close()
            self.process.join()
        return self.image_s is not None


@dataclass
class TimedExport:
    """Expects of an export what a forward pass of the network takes on the CPU, where most of its checks run.

    Attributes:
        classes: Of the study's images.
        images: Of their validation split, over which every check of an export goes.
        model_files: That define networks of the study.
    """

    classes: int
    images: int
    model_files: Sequence[Path] = ()
    _begun: dict[Kind, _Timing] = field(default_factory=dict)
    _complete: dict[Kind, _Timing] = field(default_factory=dict)

    @classmethod
    def of(cls, sweep: SweepConfig, images: ImageSet, root: Path) -> TimedExport:
        """Return the one of a study, whose model files are named from the folder `root`."""
        model_files = tuple(root / file for file in sweep.model_files)
        return cls(len(images.classes), len(images.splits["val"]), model_files)

    def begun(self, spec: TrialSpec) -> None:
        """Begin to time the network of a trial, if none of its kind has been."""
        kind = _kind_of(spec)
        if kind not in self._begun:
            pipe: tuple[Any, Any] = multiprocessing.Pipe(duplex=False)
            ours, theirs = pipe
            question = (spec, self.classes, self.model_files)
            self._begun[kind] = _Timing(start_prepared(_answer, (theirs, *question), "sweeper-export-time"), ours)
            theirs.close()

    def complete(self, spec: TrialSpec) -> None:
        """Take in that a trial may be the one to export."""
        kind = _kind_of(spec)
        self._complete[kind] = self._begun[kind]

    def seconds(self) -> float | None:
        """Return what an export takes at most: of networks of complete trials, before there are any of all begun.

        None while none of them is known.
        """
        timings = (self._complete or self._begun).values()
        known = [timing.image_s for timing in timings if timing.ended() and timing.image_s is not None]
        return WRITING_S + PASSES * self.images * max(known) if known else None


def _kind_of(spec: TrialSpec) -> Kind:
    return spec.config.backbone, spec.config.image_size, spec.config.test_time_augmentation


def _answer(connection: Connection, *question: Any) -> None:
    live_with_parent()
    from sweeper.modeling.forward_time import forward_seconds
    from sweeper.training.device import open_device

    open_device("cpu", 0)
    try:
        connection.send(forward_seconds(*question))
    except Exception as error:  # its trial will say so, or its export
        logger.info("how long an export takes is not known: %s", error)
        connection.send(0.0)

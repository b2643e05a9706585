"""Whether the network of a trial is compiled: where it is asked for, or where it repays its time.

What a step takes with and without compiled code, and what compiling takes, is measured while trials run: the
first trial of its kind that has long enough to go tries it out after its first epochs, and its times
are kept for all later ones. Of a step the shortest time ever seen is kept, since whatever else a machine does only
adds to it; of compiling the latest, since torch keeps compiled code on disk, so that a later trial of the same kind
mostly traces the network only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.config.frozen import Frozen
from sweeper.config.sweep import Compile
from sweeper.files import file_lock, write_whole
from sweeper.training.convolution import needs_small_maps
from sweeper.training.device import arithmetic
from sweeper.training.forward import Forward

logger = logging.getLogger(__name__)

WORTH_A_TRY_S = 120.0
"""Trying costs about a minute; where a trial of this kind has less than this before it, none tries."""
PLAIN_EPOCHS = 2
"""Measured before a try; the first one warms up."""


class StepTimes(Frozen):
    """What is known of a kind of trial: seconds of a training step, plain and compiled, and of compiling."""

    plain_s: float | None = None
    compiled_s: float | None = None
    compile_s: float | None = None


@dataclass(frozen=True)
class Compilation:
    """What a search space says of compiling, and the file that keeps the times of this kind of trial."""

    wish: Compile = False
    file: Path | None = None

    def recall(self) -> StepTimes:
        """Return what earlier trials have measured."""
        if self.file is None or not self.file.exists():
            return StepTimes()
        try:
            return StepTimes.model_validate_json(self.file.read_bytes())
        except ValueError:  # damaged: they are measured again
            return StepTimes()

    def remember(self, times: StepTimes) -> None:
        """Keep times for later trials; those of several workers replace each other."""
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(self.file.with_suffix(".lock"), blocking=True):
                write_whole(self.file, times.model_dump_json())


PLAIN = Compilation()


@dataclass
class Compiling:
    """Decides before each epoch of a trial, and learns from each."""

    forward: Forward
    compilation: Compilation
    batch_size: int
    _plain_epochs: int = field(default=0, init=False)
    _first_compiled_s: float | None = field(default=None, init=False)
    _times: StepTimes = field(init=False)

    def __post_init__(self) -> None:
        self._times = self.compilation.recall()
        if needs_small_maps(self.forward.network, self.forward.device):
            self.forward.cannot_compile = True
            if self.compilation.wish is True:
                kind = arithmetic(self.forward.device)
                logger.warning("the network is not compiled: here, in %s, some convolutions would be wrong", kind)

    def before_epoch(self, steps_left: int) -> None:
        """Compile the network, or go back to the plain one, given how many steps the trial has left at most."""
        wanted = self.compilation.wish is True or (self.compilation.wish == "auto" and self._repays(steps_left))
        if wanted and not self.forward.compiled and not self.forward.cannot_compile:
            self._first_compiled_s = None
            self.forward.compile(self.batch_size)
        elif not wanted and self.forward.compiled:
            self.forward.plain()

    def after_epoch(self, steps: int, seconds: float) -> None:
        """Take in how long the training steps of an epoch took."""
        if self.compilation.wish != "auto":
            return
        step_s = seconds / steps
        if not self.forward.compiled:
            self._plain_epochs += 1
            self._learn(plain_s=min(step_s, self._times.plain_s or step_s))
        elif self._first_compiled_s is None:
            self._first_compiled_s = seconds
        else:
            shortest = min(step_s, self._times.compiled_s or step_s)
            self._learn(compiled_s=shortest, compile_s=max(0.0, self._first_compiled_s - steps * shortest))

    def _repays(self, steps_left: int) -> bool:
        times = self._times
        if times.plain_s is None:
            return False
        if times.compiled_s is None or times.compile_s is None:
            worth_a_try = self._plain_epochs >= PLAIN_EPOCHS and steps_left * times.plain_s > WORTH_A_TRY_S
            return self.forward.compiled or worth_a_try
        to_spend = 0.0 if self.forward.compiled else times.compile_s
        return steps_left * (times.plain_s - times.compiled_s) > to_spend

    def _learn(self, **seconds: float) -> None:
        self._times = self._times.model_copy(update=seconds)
        self.compilation.remember(self._times)

"""Every error sweeper raises on purpose, and the exit code each one ends the program with.

SweeperError
├── ConfigError         2   the search space or the command line is wrong; lists every problem
├── DatasetError        3   the images or their labels cannot be used
├── RankLost                a process that trains a trial together with this one is gone; its worker ends
├── OtherImages             the images have changed while a study runs; its driver reports it as StudyChanged
├── StudyError          4   the study cannot be opened, continued or asked for what was wanted
│   ├── StudyLocked         another driver is running it
│   ├── StudyTakenOver      another driver has taken it over, since this one did not answer
│   ├── StudyNotFound       no study of that name is stored
│   ├── StudyChanged        the search space, the images or a model file differ from those it was started with
│   ├── ForeignStudy        it belongs to another folder
│   ├── NoWinner            none of its trials has finished, or none trained again ended well
│   ├── DamagedFile         a file that it keeps cannot be read
│   ├── DeviceError         a device cannot train
│   └── DiskError           what it keeps on disk cannot be written
├── TrackingError       5   MLflow cannot be reached
│   └── TrackingRefused 7   MLflow answers, and will never take what is sent
├── ExportError         6   an export does not reproduce the logged accuracy, is damaged, or is none
└── TrialError              fails one trial and never the study
    ├── NonFiniteLoss
    ├── DoesNotFit          too large for the memory: no failure, the sampler learns to avoid it
    └── ModelError          the backbone or its weights cannot be built as configured

Exit code 0 is success, 1 an unexpected error or a finding of `sweeper doctor` or `sweeper data check`, or that
`sweeper plan` found a branch that cannot work, `sweeper reproduce` got other metrics, or the question of
`sweeper delete` was answered by no, 130 an interruption by the user, 75 an end by SIGTERM; after both, the same
command continues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class SweeperError(Exception):
    """Base of all errors that are answered with a message instead of a traceback."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One mistake in a search space: where it stands, the rule it breaks, what to do."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.where}: {key}{self.message}"


IN_SEARCH_SPACE = "search space"
"""The place of a mistake that is found after loading; `naming_lines` replaces it by the line."""


class RankLost(SweeperError):
    """A process that trains a trial together with this one is gone, or must be: the worker ends, and a new one goes on.

    Attributes:
        for_memory: Whether want of memory was the cause.
        unmet: The ranks on other machines that have not called.
    """

    def __init__(self, message: str, *, for_memory: bool = False, unmet: Sequence[int] = ()):
        super().__init__(message)
        self.for_memory, self.unmet = for_memory, tuple(unmet)


class ConfigError(SweeperError):
    """The search space or an override is wrong."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return ConfigError, (self.problems,)  # whole, from another process too


class DatasetError(SweeperError):
    """The data set cannot be read as described."""

    exit_code = 3


class OtherImages(SweeperError):
    """The images are others than those that a study began with."""

    exit_code = 4


class StudyError(SweeperError):
    """The study cannot be opened or continued."""

    exit_code = 4


class StudyLocked(StudyError):
    """Another driver holds the study."""


class StudyTakenOver(StudyError):
    """Another driver has taken the study over; this one must change nothing more."""


class StudyNotFound(StudyError):
    """No study of this name is stored."""


class StudyChanged(StudyError):
    """The stored study was started with another search space, other images or another model file."""


class ForeignStudy(StudyError):
    """The study belongs to another folder than this one."""


class NoWinner(StudyError):
    """No trial of the study has finished, or none that was trained again ended well."""


class DamagedFile(StudyError):
    """A file that the study keeps is not what was written there."""


class DeviceError(StudyError):
    """A device cannot train: it is broken, full or not there."""


class DiskError(StudyError, OSError):
    """A file that a study needs cannot be written: the disk is full, read-only or not ours to write."""


class TrackingError(SweeperError):
    """MLflow cannot be reached, or does not answer as it should."""

    exit_code = 5


class TrackingRefused(TrackingError):
    """MLflow answers and will not take what it is sent, however often it is tried; the message says what to change."""

    exit_code = 7


class ExportError(SweeperError):
    """An exported model does not give the accuracy that was logged."""

    exit_code = 6


class TrialError(SweeperError):
    """Ends one trial as failed; the study goes on."""


class NonFiniteLoss(TrialError):
    """The loss became NaN or infinite."""


class DoesNotFit(TrialError):
    """Not even the smallest part of a batch fits in memory."""


class ModelError(TrialError):
    """The backbone, the head or their weights cannot be built as configured."""


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def kind_and_message(error: BaseException) -> str:
    """Return what an error says, after its kind where it is not one of ours: those explain themselves."""
    return str(error) if isinstance(error, SweeperError) else f"{type(error).__name__}: {error}"


NOT_AS_WRITTEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError)
"""What reading a database raises that holds something else than was written there."""

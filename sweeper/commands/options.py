"""Options that several commands have, and what their values stand for."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.addresses import STORAGE_VARIABLE

if TYPE_CHECKING:
    import torch

    from sweeper.config.sweep import Precision, SweepConfig
    from sweeper.finished.named_data import Labels, NamedData

StorageOption = Annotated[
    str | None, typer.Option(envvar=STORAGE_VARIABLE, help="Optuna storage, by default optuna.db in this folder.")
]
TrackingOption = Annotated[
    str | None, typer.Option(help="MLflow server or database, by default $MLFLOW_TRACKING_URI or mlflow.db here.")
]
GoesToOption = Annotated[
    str | None,
    typer.Option(
        help="MLflow server or database, by default that of the study's latest run; for a new study "
        "$MLFLOW_TRACKING_URI or mlflow.db here."
    ),
]
RecordedOption = Annotated[
    str | None, typer.Option(help="MLflow server or database, by default that of the study's latest run.")
]


def _plain_name(value: str | None) -> str | None:
    from sweeper.config.plain_name import is_a_plain_name

    try:
        return None if value is None else is_a_plain_name(value)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, got {value}") from None


def finite(value: float | None) -> float | None:
    """Refuse infinity, which a range of numbers without an upper end lets pass."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"should be a number such as 1.5, and neither infinity nor nan, got {value}")
    return value


TrackingNameOption = Annotated[
    str | None,
    typer.Option(
        callback=_plain_name,
        metavar="NAME",
        help="Name of the experiment and the model in MLflow, by default the study's name. It counts only when they "
        "are first made.",
    ),
]
LabelsOption = Annotated[
    Literal["as_written", "normalize"] | None,
    typer.Option(
        help="How the labels of --data are read. normalize: a label that differs from a class only in case, blanks and "
        "the like is taken for that class. By default as in the study's dataset.labels, for an export as_written."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Answer in JSON, for scripts; its form is in docs/scripting.md.")
]
AdoptOption = Annotated[bool, typer.Option("--adopt", help="Make this folder the owner of the study.")]


def _workers(value: str | None) -> str | None:
    if value not in (None, "auto") and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"should be a number of at least 1, or auto, got {value}")
    return value


WorkersOption = Annotated[
    str | None,
    typer.Option(
        callback=_workers,
        metavar="N|auto",
        show_default="one on each GPU, or one on the CPU",
        help="Trials at the same time; auto: as many as fit in memory; at most one for each CPU core, 32 in all, "
        "and 3 on each NVIDIA GPU.",
    ),
]


ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="Write and log the study's report at the end.")
]
OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: --set search.batch_size=64. Repeatable.")
]


def studies_here() -> list[str]:
    """Return the names that a shell may complete."""
    from sweeper.paths import Workspace

    return Workspace(Path.cwd()).studies_run()


StudyArgument = Annotated[
    str | None, typer.Argument(help="Name of the study; by default the latest.", autocompletion=studies_here)
]
TrialArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TRIAL",
        help="STUDY or STUDY/best for its best trial, STUDY/NUMBER, or the id of an MLflow run; by default the best "
        "trial of the latest study.",
        autocompletion=studies_here,
    ),
]


EngineOption = Annotated[
    str | None,
    typer.Option(metavar="local|ray|simulate", help="Where trials run; by default as the search space says."),
]
RayAddressOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Head of the Ray cluster; auto: the cluster of this machine.")
]
SharedOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL", help="With Ray: a folder that all nodes see, or s3://, gs://, for what trials leave."
    ),
]


TrialsOption = Annotated[int | None, typer.Option(metavar="N", help="Short for --set budget.trials=N.")]
EpochsOption = Annotated[int | None, typer.Option(metavar="N", help="Short for --set budget.epochs=N.")]
FoldsOption = Annotated[
    int | None, typer.Option(metavar="N", help="Short for --set dataset.folds=N: cross-validation, for small data.")
]
RunDeviceOption = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="Short for --set device=DEVICE: auto, cpu, cuda, cuda:1, mps.")
]


ForOption = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="DURATION",
        help="Time limit, such as 45m or 2h: run the trials that fit, or --trials, and export the best model by then.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="The same, by the time of day or a date: 18:00, or 2030-01-31T18:00."),
]


def seconds_until(moment: str, now: datetime) -> float:
    """Return how many seconds it is from now to a time of day or a date with a time, of this place or a named zone.

    Raises ConfigError where it is neither, or has passed. A time of day that has passed is tomorrow's.
    """
    from sweeper.errors import ConfigError, Problem

    try:
        found = _next_of_day(time.fromisoformat(moment), now)
    except ValueError:
        try:
            found = datetime.fromisoformat(moment)
        except ValueError:
            rule = f"should be a time such as 18:00, or a date with a time such as 2030-01-31T18:00, got {moment}"
            raise ConfigError([Problem("--until", "", rule)]) from None
        found = _of_this_place(found)
    if found <= now:
        rule = f"{moment} has passed: it is {now:%Y-%m-%dT%H:%M}; name a moment to come"
        raise ConfigError([Problem("--until", "", rule)])
    return found.timestamp() - now.timestamp()


def _next_of_day(clock: time, now: datetime) -> datetime:
    """Return the next moment after now at which the clock of this place, or of the zone that it names, shows a time."""
    day = now.astimezone(clock.tzinfo).date() if clock.tzinfo else now.date()
    found = _of_this_place(datetime.combine(day, clock))
    while found <= now:
        day += timedelta(days=1)
        found = _of_this_place(datetime.combine(day, clock))
    return found


def _of_this_place(moment: datetime) -> datetime:
    """Return a moment with the offset that this place has then: clocks may change before it."""
    return moment if moment.tzinfo else moment.astimezone()


def with_deadline(overrides: list[str] | None, duration: str | None, until: str | None) -> list[str]:
    """Return the overrides with the time after which the model is to be there, and with as many trials as fit.

    A number of trials among the overrides stays. Raises ConfigError for both.
    """
    from sweeper.config.sweep import AS_MANY_AS_FIT
    from sweeper.errors import ConfigError, Problem

    if duration is not None and not duration.strip():
        raise ConfigError([Problem("--for", "", "should be a duration such as 45m or 2h, and is empty")])
    if duration and until:
        raise ConfigError([Problem("--for", "", "and --until say the same in two ways; keep one of them")])
    seconds = None if until is None else f"{seconds_until(until, datetime.now().astimezone()):.3f}"
    if duration and duration.strip().replace(".", "", 1).isdigit():
        raise ConfigError([Problem("--for", "", f"should have a unit, such as 45m or 2h, got {duration}")])
    given = duration or seconds
    if not given:
        return overrides or []
    numbered = any(override.partition("=")[0].strip() == "budget.trials" for override in overrides or ())
    as_many = [] if numbered else [f"budget.trials={AS_MANY_AS_FIT}"]
    return [*(overrides or []), f"budget.for={given}", *as_many]


def with_shorthands(
    overrides: list[str] | None,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    folds: int | None = None,
    device: str | None = None,
) -> list[str]:
    """Return the overrides with those that have options of their own."""
    given = {"budget.trials": trials, "budget.epochs": epochs, "dataset.folds": folds, "device": device}
    return [*(overrides or []), *(f"{key}={value}" for key, value in given.items() if value is not None)]


def with_engine(
    overrides: list[str] | None, engine: str | None, ray_address: str | None, shared: str | None
) -> list[str]:
    """Return the overrides with those that say where trials run."""
    given = {"engine.name": engine, "engine.address": ray_address, "engine.shared": shared}
    return [*(overrides or []), *(_text(key, value) for key, value in given.items() if value is not None)]


def with_tracking_name(overrides: list[str] | None, name: str | None) -> list[str]:
    """Return the overrides with the one that names the experiment."""
    return [*(overrides or []), *([] if name is None else [_text("tracking.name", name)])]


def _text(key: str, value: str) -> str:
    """Return an override with a value that is text, whatever YAML would make of it."""
    from sweeper.config.document import written

    return f"{key}={written(value)}"


DEVICES = "(NVIDIA GPUs, else Apple's, else the CPU), cpu, cuda, cuda:1, mps."
DeviceOption = Annotated[str, typer.Option(help=f"auto {DEVICES}")]
DeviceOfTrial = Annotated[
    str,
    typer.Option("--device", help="auto (for a trial its study's device, else as in predict), cpu, cuda, cuda:1, mps."),
]
PathColumnOption = Annotated[str | None, typer.Option(help="Column of a CSV file with the image's path or name.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace an earlier file of this kind even if it was edited since.")
]
LabelColumnOption = Annotated[str | None, typer.Option(help="Column of a CSV file with the class.")]
SplitColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column of a CSV file with train, val or test; false: there is none, whatever columns are called."
    ),
]
CsvImagesOption = Annotated[str, typer.Option(help="Folder of the images of a CSV file, relative to the file.")]
WHERE_CSV = "where --data is a CSV file; by default the study's, if the file has it."
ExtensionOption = Annotated[str, typer.Option(help="Appended to the names in a CSV file, such as .jpg.")]


OtherPathColumn = Annotated[
    str | None, typer.Option("--path-column", help=f"Column with the image's path or name, {WHERE_CSV}")
]
OtherLabelColumn = Annotated[str | None, typer.Option("--label-column", help=f"Column with the class, {WHERE_CSV}")]
OtherImages = Annotated[
    str | None, typer.Option("--csv-images", help=f"Folder of the images, relative to the file, {WHERE_CSV}")
]
OtherExtension = Annotated[
    str | None, typer.Option("--extension", help=f"Appended to the names, such as .jpg, {WHERE_CSV}")
]


def device_for(name: str, study: SweepConfig) -> torch.device:
    """Return a device in the precision of a study; auto stands for the study's own.

    Raises ConfigError when this machine has no such device.
    """
    from sweeper.training.device import device_of_study

    if name == "auto":
        return device_of_study(study.device, study.precision)
    return device_named(name, study.precision)


def device_named(name: str, precision: Precision = "auto") -> torch.device:
    """Return a device. Raises ConfigError when this machine has none of that name."""
    from sweeper.errors import ConfigError, DeviceError, Problem
    from sweeper.training.device import open_device

    try:
        return open_device(name, 0, precision)
    except DeviceError as error:
        raise ConfigError([Problem("--device", "", str(error))]) from error


def named_data(
    data: Path | None,
    labels: Labels | None,
    path_column: str | None,
    label_column: str | None,
    csv_images: str | None,
    extension: str | None,
) -> NamedData | None:
    """Return the images of `--data` and how they are read; None without that option.

    Raises ConfigError for the others without it: a study's own images are read as in its training.
    """
    from sweeper.data.csv_layout import is_csv
    from sweeper.errors import ConfigError, Problem
    from sweeper.finished.named_data import NamedData

    columns = {"path_column": path_column, "label_column": label_column, "images": csv_images, "extension": extension}
    names = ("--path-column", "--label-column", "--csv-images", "--extension")
    without_use = dict(zip(names, columns.values(), strict=True))
    if data is None:
        missing, without_use = "--data, which is missing; add it", {"--labels": labels, **without_use}
    elif data.is_dir() and not is_csv(data):
        missing = f"a CSV file, and {data} is none; name one"
    else:
        return NamedData(data, labels, {key: value for key, value in columns.items() if value is not None})
    problems = [
        Problem(option, "", f"describes {missing} or remove {option} {value}")
        for option, value in without_use.items()
        if value is not None
    ]
    if problems:
        raise ConfigError(problems)
    return NamedData(data, labels) if data is not None else None

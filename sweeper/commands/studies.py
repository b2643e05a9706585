"""Finding the study that a command is about: the working directory, the storage, the name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.results import TrialRow
    from sweeper.search.study_store import StudyStore

StorageOption = Annotated[
    str | None, typer.Option(envvar="OPTUNA_STORAGE", help="Optuna storage, by default optuna.db in this folder.")
]
TrackingOption = Annotated[
    str | None, typer.Option(help="MLflow server or database, by default $MLFLOW_TRACKING_URI or mlflow.db here.")
]
TrackingNameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What the experiment and the model are called in MLflow, by default as the study; where they are made.",
    ),
]
AdoptOption = Annotated[
    bool, typer.Option("--adopt", help="Let the study belong to this folder, whatever folder it belonged to.")
]
AUTO: Literal["auto"] = "auto"


def _workers(value: str | None) -> str | None:
    if value not in (None, AUTO) and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"should be a number of at least 1, or {AUTO}, got {value}")
    return value


WorkersOption = Annotated[
    str | None,
    typer.Option(
        callback=_workers,
        metavar="N|auto",
        show_default="one on each GPU, or one on the CPU",
        help="Trials at the same time; auto: as many as fit in memory.",
    ),
]


def worker_count(option: str | None) -> int | Literal["auto"] | None:
    """Return the option as an engine takes it: None stands for one worker on each device."""
    if option is None or option == AUTO:
        return AUTO if option else None
    return int(option)


ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="Write and log the study's report at the end.")
]
OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: --set search.batch_size=64. Repeatable.")
]
StudyArgument = Annotated[str | None, typer.Argument(help="Name of the study; by default the latest.")]


def with_tracking_name(overrides: list[str] | None, name: str | None) -> list[str]:
    """Return the overrides with the one that names the experiment."""
    return [*(overrides or []), *([] if name is None else [f"tracking.name={name}"])]


def this_workspace() -> Workspace:
    from sweeper.paths import Workspace

    return Workspace(Path.cwd())


def storage_url(workspace: Workspace, storage: str | None) -> str:
    from sweeper.addresses import sqlite_address

    return storage or sqlite_address(workspace.optuna_database)


def open_study(workspace: Workspace, storage: str | None, study: str | None) -> StudyStore:
    """Open the study of this name, or the latest. Raises StudyNotFound."""
    from sweeper.errors import StudyNotFound
    from sweeper.search.study_store import StudyStore

    if not storage and not workspace.optuna_database.exists():
        missing = f"there is no {workspace.optuna_database.name} in {workspace.root}"
        raise StudyNotFound(f"{missing}{_what_is_lost_with_it(workspace)}")
    url = storage_url(workspace, storage)
    names = [study] if study else StudyStore.names(url)
    if not names:
        raise StudyNotFound("there is no study yet; `sweeper run` makes one")
    return StudyStore.load(url, names[0])


def _what_is_lost_with_it(workspace: Workspace) -> str:
    known = workspace.studies_run()
    if not known:
        return "; `sweeper run` makes one"
    return (
        f", in which the trials of {', '.join(known)} would stand, run here before: bring the file back, or name the "
        "storage that they are in with --storage; without it `sweeper run` begins another study"
    )


def has_studies(workspace: Workspace, storage: str | None) -> bool:
    from sweeper.search.study_store import StudyStore

    there = bool(storage) or workspace.optuna_database.exists()
    return there and bool(StudyStore.names(storage_url(workspace, storage)))


def winner_of(store: StudyStore, prefer: str | None = None, within: float | None = None) -> TrialRow:
    """Return the trial that a confirmation chose, else the best that has finished; or the one that is preferred.

    Raises NoWinner when none has finished, ConfigError for a metric that trials do not have.
    """
    from sweeper.study import winner
    from sweeper.study.pareto import choose

    chosen = winner.winner_of(store)
    return chosen if prefer is None else choose(store.rows(), store.sweep, prefer, within) or chosen

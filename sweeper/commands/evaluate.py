"""`sweeper evaluate`: how good a model is on a split."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeper.commands.exported_model import is_export
from sweeper.commands.options import DeviceOption, ForceOption, StorageOption, TrackingOption, device_named
from sweeper.commands.studies import open_trial, this_workspace
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json

if TYPE_CHECKING:
    import torch

    from sweeper.finished.evaluate_classifier import SplitReport
    from sweeper.paths import EvaluationFolder, Workspace
    from sweeper.results import TrialRow
    from sweeper.search.study_store import StudyStore


def evaluate(
    model: Annotated[
        str, typer.Argument(help="STUDY or STUDY/best, STUDY/NUMBER, an MLflow run's id, or an export's folder.")
    ],
    split: Annotated[Literal["val", "test"], typer.Option(help="The images to judge it by.")] = "test",
    data: Annotated[
        Path | None, typer.Option(help="Other labelled images, in any layout; without splits all of them are taken.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the files, by default evaluations/MODEL/SPLIT.")] = None,
    force: ForceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON instead of tables.")] = False,
    device: DeviceOption = "auto",
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Score a model on a split: accuracy, macro precision, recall and F1, top-5, loss, and each class.

    An autoencoder is scored by its squared error, PSNR and SSIM.

    For a study's test split, the metrics and files go to the trial's MLflow run, with a count of the looks.
    """
    from sweeper.config.task import reconstructs
    from sweeper.paths import EvaluationFolder

    workspace = this_workspace()
    if is_export(model):
        folder = EvaluationFolder(to) if to else workspace.evaluation(Path(model).resolve().name, split)
        _require_free(folder, force=force)
        _evaluate_export(workspace, Path(model), split, data, folder, device, as_json=as_json, force=force)
        return
    store, row = open_trial(workspace, storage, model, tracking_uri)
    on = device_named(store.sweep.device if device == "auto" else device)
    folder = EvaluationFolder(to) if to else workspace.evaluation(store.sweep.study, split, _number_of(store, row))
    _require_free(folder, force=force)
    asked = Asked(workspace, store, row, split, data, folder, on, tracking_uri, as_json, force)
    looks = _evaluate_autoencoder(asked) if reconstructs(store.sweep.task) else _evaluate_classifier(asked)
    if looks is not None:
        warn(f"logged as test/... to the run of trial {row.number}; looks at a test split so far: {looks}")


@dataclass(frozen=True)
class Asked:
    """Which trial is evaluated on which images, and where the numbers go."""

    workspace: Workspace
    store: StudyStore
    row: TrialRow
    split: Literal["val", "test"]
    data: Path | None
    folder: EvaluationFolder
    device: torch.device
    tracking_uri: str | None
    as_json: bool
    force: bool

    @property
    def name(self) -> str:
        return f"{self.store.sweep.study}/{self.row.number}"


def _number_of(store: StudyStore, row: TrialRow) -> int | None:
    """Return the number of a trial that is not the winner: its files get a folder of their own."""
    from sweeper.standings.winner import study_winner

    winner = study_winner(store)
    return None if winner and winner.number == row.number else row.number


def _require_free(folder: EvaluationFolder, *, force: bool) -> None:
    """Raise ConfigError, before the long work, where its files would replace what is not ours or was edited."""
    from sweeper.finished.evaluation_files import outputs_of
    from sweeper.safeguards.outputs import require_free

    require_free(outputs_of(folder, force=force))


def _evaluate_export(
    workspace: Workspace,
    export: Path,
    split: Literal["val", "test"],
    data: Path | None,
    folder: EvaluationFolder,
    device: str,
    *,
    as_json: bool,
    force: bool,
) -> None:
    from sweeper.errors import DatasetError
    from sweeper.finished.evaluate_classifier import evaluate_export, write_report

    if data is None:
        raise DatasetError(f"the export {export} does not know where its images are; name them with --data")
    with progress_bar("decoding") as progress:
        report = evaluate_export(workspace, export, split, data=data, device=device_named(device), progress=progress)
    write_report(report, folder, force=force)
    _show(report, f"{export}", split, folder.path, as_json=as_json)


def _evaluate_classifier(asked: Asked) -> int | None:
    """Evaluate, write and show a trial; return how often its test split was looked at, None for another split."""
    from sweeper.finished.evaluate_classifier import evaluate_trial, record_in_mlflow, write_report

    store, tracking_uri = asked.store, asked.tracking_uri
    with progress_bar("decoding") as progress:
        report = evaluate_trial(
            asked.workspace,
            store,
            asked.row,
            asked.split,
            data=asked.data,
            device=asked.device,
            tracking_uri=tracking_uri,
            progress=progress,
        )
    files = write_report(report, asked.folder, force=asked.force)
    _show(report, asked.name, asked.split, asked.folder.path, as_json=asked.as_json)
    if asked.split != "test":
        return None
    return record_in_mlflow(asked.workspace, store, report, files, int(time.time() * 1000), tracking_uri)


def _evaluate_autoencoder(asked: Asked) -> int | None:
    """Do the same for an autoencoder."""
    from sweeper.display.evaluation import quality_table
    from sweeper.errors import DatasetError
    from sweeper.finished.evaluate_autoencoder import evaluate_autoencoder, record_quality, write_quality

    store, tracking_uri, device = asked.store, asked.tracking_uri, asked.device
    if asked.data is not None:
        rule = f"--data names labelled images for a classifier, and {asked.name} is an autoencoder; leave it out"
        raise DatasetError(rule)
    with progress_bar("decoding") as progress:
        report = evaluate_autoencoder(
            asked.workspace, store, asked.row, asked.split, device=device, tracking_uri=tracking_uri, progress=progress
        )
    files = write_quality(report, asked.folder, force=asked.force)
    if asked.as_json:
        write_json(report.as_json())
    else:
        show(quality_table(report))
        say(f"{asked.name}: {report.images:,} {asked.split} images of {report.data}; files in {asked.folder.path}")
    if asked.split != "test":
        return None
    return record_quality(asked.workspace, store, report, files, int(time.time() * 1000), tracking_uri)


def _show(report: SplitReport, name: str, split: str, folder: Path, *, as_json: bool) -> None:
    from sweeper.display.evaluation import classes_table, scores_table

    if as_json:
        write_json(report.as_json())
        return
    show(classes_table(report))
    show(scores_table(report))
    say(f"{name}: {report.images:,} {split} images of {report.data}; files in {folder}")

"""Exporting a winner, as `sweeper best --export` does: its files, what each scores, the model registry."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from sweeper.commands.terminal import say, show, waiting, warn
from sweeper.safeguards.quantity import quantity

if TYPE_CHECKING:
    from sweeper.export.export import ExportReport
    from sweeper.export.export_input import MergeKind
    from sweeper.export.quantize import VariantKind
    from sweeper.finished.task import Extras
    from sweeper.paths import Workspace
    from sweeper.results import TrialRow
    from sweeper.search.study_store import StudyStore
    from sweeper.tracking.model_registry import RegisteredVersion


TOLERANCE = 0.01
LEADERS = 5

RegisterOption = Annotated[
    bool, typer.Option("--register/--no-register", help="Register an export in MLflow's model registry.")
]


Fp16Option = Annotated[bool, typer.Option("--fp16", help="Also write model.fp16.onnx, in half precision.")]


Int8Option = Annotated[bool, typer.Option("--int8", help="Also write model.int8.onnx, in 8-bit integers.")]


ToleranceOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="Accuracy that --fp16 and --int8 may lose; a file that loses more is left out."),
]


SoupOption = Annotated[
    bool,
    typer.Option(
        "--soup", help="Average the weights of the best trials of one shape, and export that if it is better."
    ),
]


EnsembleOption = Annotated[
    bool,
    typer.Option("--ensemble", help="Average the probabilities of the best trials, and export that if it is better."),
]


LeadersOption = Annotated[int, typer.Option(min=2, help="How many of the best trials --soup and --ensemble try.")]


@dataclass(frozen=True)
class Asked:
    """What an export is to hold beside the winner in full precision."""

    fp16: bool
    int8: bool
    soup: bool
    ensemble: bool
    leaders: int
    tolerance: float

    def require_use(self, *, exports: bool) -> None:
        """Raise ConfigError for every option that would change nothing."""
        from sweeper.errors import ConfigError, Problem

        files = {"--fp16": self.fp16, "--int8": self.int8, "--soup": self.soup, "--ensemble": self.ensemble}
        changed = {
            "--leaders": (self.leaders != LEADERS, "--soup or --ensemble", self.soup or self.ensemble),
            "--tolerance": (self.tolerance != TOLERANCE, "--fp16 or --int8", self.fp16 or self.int8),
        }
        problems = [
            Problem(option, "", f"changes an export; add --export or remove {option}")
            for option, given in files.items()
            if given and not exports
        ]
        problems += [
            Problem(option, "", f"is for {others}; add one of them or remove {option}")
            for option, (given, others, used) in changed.items()
            if given and not used
        ]
        if problems:
            raise ConfigError(problems)

    def extras(self, store: StudyStore, winner: TrialRow) -> Extras:
        from sweeper.finished.task import Extras
        from sweeper.standings.ranking import finished_behind

        variants: dict[VariantKind, bool] = {"fp16": self.fp16, "int8": self.int8}
        merges: dict[MergeKind, bool] = {"soup": self.soup, "ensemble": self.ensemble}
        others = finished_behind(store.rows(), store.sweep.objective.direction, winner)
        return Extras(
            variants=tuple(kind for kind, asked in variants.items() if asked),
            tolerance=self.tolerance,
            merges=tuple(kind for kind, asked in merges.items() if asked),
            others=tuple(others[: self.leaders - 1]),
        )


NOTHING_MORE = Asked(fp16=False, int8=False, soup=False, ensemble=False, leaders=LEADERS, tolerance=TOLERANCE)


def export(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    asked: Asked,
    destination: Path,
    tracking_uri: str | None,
    *,
    register: bool,
) -> None:
    """Export a trial, say what every file of it scores, and register it unless that is not wanted."""
    from sweeper.display.tables import quality_table
    from sweeper.export.autoencoder_export import AutoencoderReport
    from sweeper.export.export import ExportReport
    from sweeper.finished.export_trial import export_trial
    from sweeper.finished.tasks import finished_task

    with waiting("exporting and checking every format"):
        report = export_trial(workspace, store, row, destination, tracking_uri, asked.extras(store, row))
    match report:
        case ExportReport():
            _say_what_a_classifier_scores(report)
        case AutoencoderReport():
            show(quality_table(report))
        case _:
            assert_never(report)
    say(f"exported to {report.folder}; its README.md says how to use it")
    if register and finished_task(store.sweep).registered:
        register_if_possible(workspace, destination, tracking_uri)


def _say_what_a_classifier_scores(report: ExportReport) -> None:
    from sweeper.display.tables import merge_line, variants_table, verification_table

    for tried in report.config.merges:
        say(merge_line(tried))
    if found := report.config.cross_validation:
        accuracy = f"{report.config.metrics['val/accuracy']:.4f}"
        length = quantity(found.epochs, "epoch")
        say(
            f"accuracy {accuracy} over {found.folds} folds; a network that had not seen the fold labelled each one. "
            f"The exported network is another one: it was trained on all {found.images:,} images for {length}. Its "
            "files are compared below on the images of the first fold, which it has seen:"
        )
    show(verification_table(report))
    calibration = report.config.calibration
    if calibration and calibration.reason:
        say(f"not calibrated: {calibration.reason}")
    elif calibration:
        say(
            f"calibrated with temperature {calibration.temperature:.3f}: expected calibration error "
            f"{calibration.ece:.4f} before, {calibration.calibrated_ece:.4f} after"
        )
    if report.config.variants:
        if report.config.cross_validation:
            say("the smaller files are compared by the same images; on new ones they may lose more:")
        show(variants_table(report.config.variants))
    for variant in report.config.variants:
        if not variant.kept:
            why = variant.best.failure or f"it loses {variant.best.lost:.2%} accuracy"
            warn(f"{variant.file} LEFT OUT: {why}; --tolerance {variant.tolerance} is the most it may lose")


def register_if_possible(workspace: Workspace, folder: Path, tracking_uri: str | None) -> None:
    """Register an export; where that fails, the export stays, and the message names the command that does it later."""
    from sweeper.errors import StudyError, TrackingError
    from sweeper.finished.register import register_export

    try:
        with waiting("registering"):
            version = register_export(workspace, folder, tracking_uri)
    except (TrackingError, StudyError) as error:
        known = folder == workspace.export(folder.name)
        warn(f"not registered: {error}. Later: sweeper register {shlex.quote(folder.name if known else str(folder))}")
    else:
        say_registered(version)


SERVING = "--env-manager local -p 5001"
"""In the environment that is there, and not where `mlflow ui` answers."""


def say_registered(version: RegisteredVersion) -> None:
    known = "" if version.new else ", as it was already"
    serve = f"mlflow models serve -m {version.uri} {SERVING}"
    say(f"registered as version {version.version} of {version.name}{known}: {serve}")

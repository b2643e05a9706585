"""Finding the export that a command is about: by its folder, or by the study whose winner it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.commands.studies import has_studies, open_study, winner_of
from sweeper.commands.terminal import warn
from sweeper.paths import ExportFolder

if TYPE_CHECKING:
    from sweeper.config.trial_name import TrialName
    from sweeper.export.export_config import ExportConfig
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore


def is_export(model: str) -> bool:
    """Return whether a model is named by a folder: one that holds an export, or what can be no trial's name."""
    from sweeper.config.trial_name import parse_trial_name

    if ExportFolder(Path(model)).config.is_file():
        return True
    try:
        parse_trial_name(model)
    except ValueError:
        return True
    return False


def exported_model(workspace: Workspace, storage: str | None, model: str) -> Path:
    """Return the folder of an export, given by its path or by the name of a trial, STUDY for its best one.

    Raises StudyError when the trial has not been exported, or another one has become the best since.
    """
    from sweeper.errors import StudyError
    from sweeper.standings.trial_names import named_trial

    if is_export(model):
        return Path(model)
    name = named_trial(model)
    if name.run:
        raise StudyError(f"an export is named by its folder, STUDY or STUDY/NUMBER, got the MLflow run {model}")
    folder = _folder_of(workspace, name.study, name.number)
    if not ExportFolder(folder).config.is_file():
        _require_study(workspace, storage, name.study, winner=name.number is None)
        raise StudyError(f"{model} has not been exported, {folder} is missing: sweeper best {model} --export")
    if has_studies(workspace, storage):
        _require_current(workspace, storage, model, name, folder)
    return folder


def _folder_of(workspace: Workspace, study: str, number: int | None) -> Path:
    """Return where the export of a trial is: its own folder, or that of its study where this holds the trial."""
    from sweeper.export.export_config import read_config

    own, of_study = workspace.export(study, number), workspace.export(study)
    if number is None or ExportFolder(own).config.is_file() or not ExportFolder(of_study).config.is_file():
        return own
    return of_study if read_config(ExportFolder(of_study).config).lineage.trial == number else own


def study_of_export(workspace: Workspace, storage: str | None, config: ExportConfig) -> StudyStore | None:
    """Return the study of this name that an export says it is of; None where it is not stored here."""
    from sweeper.errors import StudyError

    try:
        return open_study(workspace, storage, config.lineage.study)
    except StudyError:  # it ran elsewhere, or is damaged, which is for the doctor to tell
        return None


def _require_study(workspace: Workspace, storage: str | None, study: str, *, winner: bool) -> None:
    """Raise StudyNotFound where there is no such study. With `winner`, raise NoWinner where no trial has finished."""
    from sweeper.errors import StudyNotFound
    from sweeper.standings.winner import winner_of

    try:
        store = open_study(workspace, storage, study)
    except StudyNotFound as error:
        raise StudyNotFound(f"{study} is neither the folder of an export nor a study: {error}") from error
    if winner:
        winner_of(store)


def _require_current(workspace: Workspace, storage: str | None, model: str, name: TrialName, folder: Path) -> None:
    """Raise StudyError where an export is of an earlier study of its name, or of no winner where that is meant."""
    from sweeper.errors import StudyError, StudyNotFound
    from sweeper.export.export_config import read_config
    from sweeper.finished.evaluated_images import is_of

    study, winner = name.study, name.number is None
    try:
        store = open_study(workspace, storage, study)
    except StudyNotFound:
        return  # the export of a study that ran elsewhere
    except StudyError:
        if winner:
            raise
        return  # which of another version of sweeper cannot be opened
    lineage = read_config(ExportFolder(folder).config).lineage
    exported = lineage.trial
    if not is_of(store, lineage):
        raise StudyError(
            f"{folder} holds trial {exported} of an earlier study called {study}: sweeper best {model} --export. "
            "To use the old one, name its folder"
        )
    if not winner:
        return
    best = winner_of(store)
    if best.number == exported:
        return
    if exported not in _taken_as_well(store):
        raise StudyError(
            f"{folder} holds trial {exported}, and trial {best.number} of {study} is best now: "
            f"sweeper best {study} --export. To use the old one, name its folder"
        )
    preferred = f"{folder} holds trial {exported}, which --prefer may have chosen, and it is used"
    warn(f"{preferred}; the best of {study} is trial {best.number} now: sweeper best {study} --export")


def _taken_as_well(store: StudyStore) -> frozenset[int]:
    """Return the trials that `sweeper best --prefer` may have exported, of several objectives."""
    from sweeper.standings.pareto import pareto_front

    return pareto_front(store.rows(), store.sweep.objectives) if store.sweep.objectives else frozenset()

"""Moving a study's runs to MLflow's trash: those that bear its id, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.tracking.model_registry import models_of
from sweeper.tracking.run_listing import ListedRun, list_runs
from sweeper.tracking.study_records import StudyRecords
from sweeper.tracking.tags import HOST_TAG, ID_TAG, PLACE_TAG, SINCE_TAG, STUDY_TAG, USER_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

OWNER_TAGS = (ID_TAG, PLACE_TAG, USER_TAG, HOST_TAG, SINCE_TAG)


@dataclass(frozen=True)
class RecordedRuns:
    """What MLflow has of a study and is not deleted yet.

    `others` counts runs in its experiment that are not the study's: with any the experiment stays. `models` are
    registered models of the study, which stay.
    """

    experiment: str
    name: str
    runs: tuple[ListedRun, ...]
    others: int
    models: tuple[str, ...]


def recorded_runs(records: StudyRecords) -> RecordedRuns | None:
    """Return a study's runs; None where MLflow has no experiment of it.

    Raises TrackingRefused where the experiment belongs to another folder, TrackingError.
    """
    with records.store.client() as client:
        found = records.own_experiment(client)
        if found is None:
            return None
        listed = list_runs(client, str(found.experiment_id), (ID_TAG, STUDY_TAG))
        models = models_of(client, records.recorded.id)
    own = tuple(run for run in listed if _is_own(run, records))
    return RecordedRuns(str(found.experiment_id), _name_before(found, records), own, len(listed) - len(own), models)


def trash_runs(records: StudyRecords) -> RecordedRuns | None:
    """Delete a study's runs as MLflow does, so that they can be restored, and the experiment that nobody else uses.

    May be repeated after it was cut. Returns what there was; raises as `recorded_runs`.
    """
    found = recorded_runs(records)
    if found is None:
        return None
    with records.store.client() as client:
        experiment = client.get_experiment(found.experiment)
        if found.others:
            for run in found.runs:
                client.delete_run(run.id)
            _forget_owner(client, experiment)
        else:
            _trash_experiment(client, found, experiment, records)
    return found


def _trash_experiment(client: MlflowClient, found: RecordedRuns, experiment: Experiment, records: StudyRecords) -> None:
    """Delete an experiment with its runs, under another name, so that a new study may have the old one."""
    aside = f"{found.name}~{records.recorded.id or found.experiment}"
    deleted = experiment.lifecycle_stage == "deleted"
    if deleted and experiment.name == aside:
        return
    if deleted:  # by somebody else; MLflow renames none in its trash
        client.restore_experiment(found.experiment)
    if experiment.name != aside:
        client.rename_experiment(found.experiment, aside)
    client.delete_experiment(found.experiment)


def _forget_owner(client: MlflowClient, experiment: Experiment) -> None:
    """Let an experiment be nobody's; its id goes last, since by it a deletion that was cut finds it again."""
    for tag in reversed(OWNER_TAGS):
        if tag in experiment.tags:
            client.delete_experiment_tag(experiment.experiment_id, tag)


def _is_own(run: ListedRun, records: StudyRecords) -> bool:
    """Return whether a run is the study's.

    One that an earlier version of sweeper made bears no id. On a server it may be anybody's, and is left alone.
    """
    recorded, id_ = records.recorded, run.tags.get(ID_TAG)
    if id_ is not None:
        return id_ == recorded.id
    return records.store.is_ours and run.tags.get(STUDY_TAG) == recorded.study


def _name_before(found: Experiment, records: StudyRecords) -> str:
    """Return the name of an experiment, also where a deletion that was cut has renamed it."""
    return str(found.name).removesuffix(f"~{records.recorded.id}")

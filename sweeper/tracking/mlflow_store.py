"""MLflow's tracking API as sweeper needs it; only this package imports MLflow.

Every method may be repeated: runs are looked up by their tags before they are created, and a
metric sent again with its own timestamp is not a second point.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.addresses import address_within, sqlite_file
from sweeper.credentials import hide_credentials, hide_in
from sweeper.errors import NOT_AS_WRITTEN, TrackingError, TrackingRefused
from sweeper.files import file_lock, put_in_place
from sweeper.paths import MLFLOW_ARTIFACTS, Workspace
from sweeper.results import EpochMetrics
from sweeper.tracking.refusal import client_missing, damaged_database, is_of_a_store, place_refused, tracking_error
from sweeper.tracking.relocation import relocate
from sweeper.tracking.request_settings import our_requests, time_for_file
from sweeper.tracking.run_listing import read_curves
from sweeper.tracking.runs import LoggedRun, RunSummary
from sweeper.tracking.tags import PARENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# For versions of MLflow's page that choose by it what an experiment opens on; 3.17 does not.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
LOGS_TRACEBACKS = "mlflow.store.db.utils"
LONGEST_PARAM = 6000
LONGEST_TAG = 5000
MOST_METRICS = 1000  # of one request
OF_NO_EPOCH = ("system/", "best/", "test/", "cost/")


def default_tracking_uri(workspace: Workspace) -> str:
    """Return where a bare `mlflow ui` in the working directory looks, unless the environment says otherwise."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_address(workspace)


def own_address(workspace: Workspace) -> str:
    """Return the address of the working directory's own database."""
    return address_within(workspace.mlflow_database, workspace.root)


class MlflowStore:
    """A connection to an MLflow tracking server or database."""

    def __init__(self, uri: str, workspace: Workspace, *, relocates: bool = True):
        """Connect. The database of a folder that was moved or copied is changed first, unless it is to be looked at.

        Raises TrackingError, and TrackingRefused where no address like this will ever take records.
        """
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        self.uri = uri
        self._workspace = workspace
        with self._errors(connecting=True):
            import mlflow

            logging.getLogger("mlflow").setLevel(logging.WARNING)
            logging.getLogger("alembic").setLevel(logging.WARNING)
            logging.getLogger(LOGS_TRACEBACKS).setLevel(logging.CRITICAL)  # what it logs is raised, and reported by us
            hide_in("mlflow", "alembic")
            self._create_database()
            if relocates and self.is_ours:
                self._relocate_database()
            self._client = mlflow.MlflowClient(tracking_uri=uri)

    @property
    def is_ours(self) -> bool:
        """Whether it is the database of this working directory, to which nobody else writes."""
        return sqlite_file(self.uri, self._workspace.root) == self._workspace.mlflow_database

    @property
    def database(self) -> Path:
        """The database of this working directory."""
        return self._workspace.mlflow_database

    def _create_database(self) -> None:
        """Build the database aside and move it into place: a kill halfway would break it for good."""
        database = self._workspace.mlflow_database
        if not self.is_ours or database.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with file_lock(self._workspace.database_lock, blocking=True):
            if database.exists():
                return
            folder = self._workspace.mlflow_building
            shutil.rmtree(folder, ignore_errors=True)  # with the journal of a killed builder, which SQLite would replay
            folder.mkdir(parents=True)
            building = folder / database.name
            # A client would write the folder's name into a statement as it is, quotes and all.
            SqlAlchemyStore(address_within(building, self._workspace.root), self._workspace.mlflow_artifacts.as_uri())
            put_in_place(building, database)
            shutil.rmtree(folder)

    def _relocate_database(self) -> None:
        for place in relocate(self._workspace.mlflow_database):
            logger.warning(
                "this folder was moved or copied from %s: MLflow finds the files of its runs here from now on",
                place.parent,
            )

    def artifacts_of(self, experiment: str) -> str | None:
        """Return where the files of a new experiment go: beside an SQLite database, else where the server says.

        MLflow's own default follows the working directory of whoever asks first, not the database.
        """
        database = sqlite_file(self.uri, self._workspace.root)
        return None if database is None else (database.parent / MLFLOW_ARTIFACTS / experiment).as_uri()

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """Return the id of the run that has all these tags, the oldest where there are several."""
        return next(iter(self.find_runs(experiment, tags)), None)

    def find_runs(self, experiment: str, tags: Mapping[str, str]) -> list[str]:
        """Return the ids of all runs that have these tags, oldest first."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        with self._errors():
            runs = self._client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"])
        return [str(run.info.run_id) for run in runs]

    def status(self, run: str) -> str | None:
        """Return the status of a run; None where it is deleted, or not there at all."""
        from mlflow.exceptions import MlflowException

        with self._errors(reading=True):
            try:
                info = self._client.get_run(run).info
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
        return str(info.status) if info.lifecycle_stage == "active" else None

    def require_answer(self) -> None:
        """Raise TrackingError unless there is a server, or a database, that answers."""
        with self._errors():
            self._client.search_experiments(max_results=1)

    def last_ms(self, run: str) -> int:
        """Return the time of a run's latest metric, or of its start."""
        with self._errors(reading=True):
            found = self._client.get_run(run)
        return int(max((metric.timestamp for metric in found.data._metric_objs), default=found.info.start_time))

    def delete_run(self, run: str) -> None:
        """Move a run to MLflow's trash."""
        with self._errors():
            self._client.delete_run(run)

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], start_ms: int) -> str:
        with self._errors():
            run = self._client.create_run(experiment, start_time=start_ms, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def log_params(self, run: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entities = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in params.items()]
        with self._errors():
            for start in range(0, len(entities), 100):
                self._client.log_batch(run, params=entities[start : start + 100])

    def log_epochs(self, run: str, history: Iterable[EpochMetrics]) -> None:
        """Log epochs, with their number as the step, in as few requests as MLflow allows: each costs a log-in."""
        from mlflow.entities import Metric

        points = [
            Metric(key, value, epoch.timestamp_ms, epoch.epoch)
            for epoch in history
            for key, value in epoch.values.items()
        ]
        with self._errors():
            for start in range(0, len(points), MOST_METRICS):
                self._client.log_batch(run, metrics=points[start : start + MOST_METRICS])

    def log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp_ms: int) -> None:
        self.log_epochs(run, [EpochMetrics(epoch=step, values=dict(values), timestamp_ms=timestamp_ms)])

    def set_experiment_tags(self, experiment: str, tags: Mapping[str, str]) -> None:
        with self._errors():
            for key, value in tags.items():
                self._client.set_experiment_tag(experiment, key, value)

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        with self._errors():
            self._client.log_batch(run, tags=[RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()])

    def tags(self, run: str) -> dict[str, str]:
        with self._errors(reading=True):
            return dict(self._client.get_run(run).data.tags)

    def epochs(self, run: str) -> list[EpochMetrics]:
        """Return what a trial's run has of each epoch, in order."""
        with self._errors(reading=True):
            names = self._client.get_run(run).data.metrics
            points = [
                point
                for name in names
                if not name.startswith(OF_NO_EPOCH)
                for point in self._client.get_metric_history(run, name)
            ]
        steps: dict[int, EpochMetrics] = {}
        for point in sorted(points, key=lambda point: (point.step, point.timestamp)):
            known = steps.setdefault(
                point.step, EpochMetrics(epoch=point.step, values={}, timestamp_ms=point.timestamp)
            )
            known.values[point.key] = point.value
        return list(steps.values())

    def run(self, run: str) -> LoggedRun:
        """Return what a run says of itself. Raises TrackingError where there is none of this id."""
        with self._errors(reading=True):
            found = self._client.get_run(run)
        tags = dict(found.data.tags)
        parent = tags.get(PARENT_TAG)
        return LoggedRun(
            str(found.info.run_name),
            str(found.info.experiment_id),
            int(found.info.start_time),
            parent,
            dict(found.data.params),
            tags,
            tuple(found.data.metrics),
        )

    def curves(self, runs: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, dict[int, float]]]:
        """Return each of these metrics that a run has, by run, name and step, in order."""
        with self._errors(reading=True):
            return read_curves(self._client, runs, metrics)

    def log_dataset(self, run: str, card: Mapping[str, Any]) -> None:
        """Record the data set as an input of the run. `card` has name, digest, source and a profile."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=str(card["name"]),
            digest=str(card["digest"])[:36],
            source_type="local",
            source=json.dumps({"uri": card["source"]}),
            profile=json.dumps(card["profile"]),
        )
        with self._errors():
            self._client.log_inputs(
                run, datasets=[DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])]
            )

    def dataset(self, run: str) -> dict[str, Any] | None:
        """Return the data set that was recorded as an input of the run, as `log_dataset` takes it."""
        with self._errors(reading=True):
            inputs = self._client.get_run(run).inputs
        found = next(iter(inputs.dataset_inputs if inputs else ()), None)
        if found is None:
            return None
        source, profile = json.loads(found.dataset.source), json.loads(found.dataset.profile or "{}")
        return {
            "name": found.dataset.name,
            "digest": found.dataset.digest,
            "source": source.get("uri"),
            "profile": profile,
        }

    def log_artifact(self, run: str, file: Path, folder: str) -> None:
        """Upload one file into a folder of the run's artifacts."""
        with self._file_errors(run), time_for_file(file.stat().st_size):
            self._client.log_artifact(run, str(file), folder or None)

    def sizes(self, run: RunSummary, folder: str) -> dict[str, int]:
        """Return the bytes of each file in a folder of a run's artifacts; none where that folder is missing."""
        with self._file_errors(run.id, reading=True):
            return {str(file.path): int(file.file_size or 0) for file in self._files_of(run).list_artifacts(folder)}

    def sizes_of(self, run: str, folder: str) -> dict[str, int | None]:
        """Return the bytes of each file in a folder of the artifacts of a run; None where its store does not say."""
        with self._file_errors(run, reading=True):
            return {str(file.path): file.file_size for file in self._client.list_artifacts(run, folder)}

    def fetch(self, run: RunSummary, artifact: str, into: Path) -> Path:
        """Download one file; unlike `download` it looks the run up no more, so that hundreds are quick."""
        with self._file_errors(run.id, reading=True), time_for_file():
            return Path(self._files_of(run).download_artifacts(artifact, str(into)))

    def _files_of(self, run: RunSummary) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(run.artifacts, tracking_uri=self.uri)

    def has_files(self, run: str, folder: str) -> bool:
        """Return whether there are files in a folder of the run's artifacts."""
        with self._file_errors(run, reading=True):
            return bool(self._client.list_artifacts(run, folder))

    def download(self, run: str, artifact: str, into: Path) -> Path:
        """Download one artifact, a file or a folder, and return its local path."""
        with self._file_errors(run, reading=True), time_for_file():
            return Path(self._client.download_artifacts(run, artifact, str(into)))

    def set_running(self, run: str) -> None:
        with self._errors():
            self._client.update_run(run, status="RUNNING")

    def end(self, run: str, status: str, end_ms: int) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        with self._errors():
            self._client.set_terminated(run, status, end_ms)

    @property
    def shown_uri(self) -> str:
        """The address, without its credentials."""
        return hide_credentials(self.uri)

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """Give MLflow's own client for what is not part of a sweep; what it raises becomes a TrackingError."""
        with self._errors():
            yield self._client

    @contextmanager
    def _errors(self, *, connecting: bool = False, reading: bool = False) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with our_requests():
                yield
        except TrackingError:
            raise
        except Exception as error:
            if not (_is_foreign(error, SQLAlchemyError) or (connecting and isinstance(error, ImportError))):
                self._tell_damage(error)
                raise
            raise tracking_error(error, self.uri, connecting=connecting, reading=reading) from error

    @contextmanager
    def _file_errors(self, run: str, *, reading: bool = False) -> Iterator[None]:
        """The same for the files of a run; the errors of sending and fetching hide why, those of listing do not."""
        try:
            with self._errors(reading=reading):
                yield
        except ImportError as error:
            raise client_missing(error, self.uri) from error
        except TrackingRefused:
            raise
        except TrackingError:
            self._require_place(run)
            raise

    def _require_place(self, run: str) -> None:
        """Raise TrackingRefused where the place of a run's files is gone, or closed to who asks there."""
        for _ in range(2):  # a server that answered 500 may have closed the connection that is used first
            try:
                with our_requests():
                    self._client.list_artifacts(run)
                return
            except Exception as error:
                # Whatever it is: it is only asked whether it says more than the error that led here.
                refused = place_refused(error, self.uri)
                if refused is not None:
                    raise refused from error

    def _tell_damage(self, error: Exception) -> None:
        """Raise TrackingError for what comes of reading a file that holds something else than MLflow wrote."""
        if isinstance(error, NOT_AS_WRITTEN) and sqlite_file(self.uri, self._workspace.root) is not None:
            logger.debug("reading %s", self.shown_uri, exc_info=error)
            raise damaged_database(self.shown_uri, error) from error


def _is_foreign(error: Exception, sqlalchemy_error: type[Exception]) -> bool:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    return isinstance(error, MlflowException | RequestException | sqlalchemy_error | OSError) or is_of_a_store(error)

"""MLflow's tracking API as sweeper needs it; only this package imports MLflow.

Every method may be repeated: runs are looked up by their tags before they are created, and a
metric sent again with its own timestamp is no second point.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.credentials import hide_credentials, hide_in
from sweeper.errors import TrackingError
from sweeper.files import file_lock
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
# MLflow's own seven retries block for four minutes, and one that repeats the creation of a run whose
# answer was lost creates a second one. The outbox retries instead, and looks before it creates.
OWN_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# For versions of MLflow's page that choose by it what an experiment opens on; 3.17 does not.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
LONGEST_PARAM = 6000
LONGEST_TAG = 5000
MOST_RUNS = 50_000
OF_NO_EPOCH = ("system/", "best/", "test/", "cost/")


def default_tracking_uri(workspace: Workspace) -> str:
    """Return where a bare `mlflow ui` in the working directory looks, unless the environment says otherwise."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow_database}"


@dataclass(frozen=True)
class RunSummary:
    """One run with the last value of each metric, the time of the latest, and the address of its artifacts."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    last_ms: int
    metrics: dict[str, float]
    artifacts: str


@dataclass(frozen=True)
class LoggedRun:
    """What a run says of itself."""

    name: str
    parent: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[str, ...]


class MlflowStore:
    """A connection to an MLflow tracking server or database."""

    def __init__(self, uri: str, workspace: Workspace):
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        os.environ[OWN_RETRIES] = "0"
        self.uri = uri
        self._workspace = workspace
        with self._errors():
            import mlflow

            logging.getLogger("mlflow").setLevel(logging.WARNING)
            logging.getLogger("alembic").setLevel(logging.WARNING)
            hide_in("mlflow", "alembic")
            self._create_database()
            self._client = mlflow.MlflowClient(tracking_uri=uri)

    @property
    def _is_our_database(self) -> bool:
        return self.uri == f"sqlite:///{self._workspace.mlflow_database}"

    def _create_database(self) -> None:
        """Build the database aside and move it into place: a kill halfway would break it for good."""
        database = self._workspace.mlflow_database
        if not self._is_our_database or database.exists():
            return
        import mlflow

        with file_lock(self._workspace.database_lock, blocking=True):
            if database.exists():
                return
            folder = self._workspace.mlflow_building
            shutil.rmtree(folder, ignore_errors=True)  # with the journal of a killed builder, which SQLite would replay
            folder.mkdir(parents=True)
            building = folder / database.name
            mlflow.MlflowClient(tracking_uri=f"sqlite:///{building}").search_experiments(max_results=1)
            building.replace(database)
            shutil.rmtree(folder)

    def experiment(self, study: str) -> str:
        """Return the id of the study's experiment, creating it at first."""
        with self._errors():
            found = self._client.get_experiment_by_name(study)
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    self._client.restore_experiment(found.experiment_id)
                return str(found.experiment_id)
            # The default location follows the working directory of whoever asks, not the database.
            local = (self._workspace.mlflow_artifacts / study).as_uri() if self._is_our_database else None
            return str(self._client.create_experiment(study, artifact_location=local, tags=EXPERIMENT_TAGS))

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """Return the id of the run that has all these tags, the oldest where there are several."""
        return next(iter(self.find_runs(experiment, tags)), None)

    def find_runs(self, experiment: str, tags: Mapping[str, str]) -> list[str]:
        """Return the ids of all runs that have these tags, oldest first."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        with self._errors():
            runs = self._client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"])
        return [str(run.info.run_id) for run in runs]

    def summaries(self, study: str) -> list[RunSummary]:
        """Return all runs of a study's experiment, oldest first; none where there is no such experiment."""
        with self._errors():
            experiment = self._client.get_experiment_by_name(study) if study else None
            if experiment is None:
                self._client.search_experiments(max_results=1)  # answers only where there is a server
                return []
            runs = self._client.search_runs(
                [experiment.experiment_id], max_results=MOST_RUNS, order_by=["attributes.start_time ASC"]
            )
        return [_summary(run) for run in runs]

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
        """Log each epoch as one batch, its epoch as the step."""
        for epoch in history:
            self.log_metrics(run, epoch.values, epoch.epoch, epoch.timestamp_ms)

    def log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp_ms: int) -> None:
        from mlflow.entities import Metric

        with self._errors():
            self._client.log_batch(
                run, metrics=[Metric(key, value, timestamp_ms, step) for key, value in values.items()]
            )

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        with self._errors():
            self._client.log_batch(run, tags=[RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()])

    def tags(self, run: str) -> dict[str, str]:
        with self._errors():
            return dict(self._client.get_run(run).data.tags)

    def epochs(self, run: str) -> list[EpochMetrics]:
        """Return what a trial's run has of each epoch, in order."""
        with self._errors():
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
        with self._errors():
            found = self._client.get_run(run)
        tags = dict(found.data.tags)
        parent = tags.get("mlflow.parentRunId")
        return LoggedRun(str(found.info.run_name), parent, dict(found.data.params), tags, tuple(found.data.metrics))

    def curves(self, run: str, metrics: Iterable[str]) -> dict[str, dict[int, float]]:
        """Return each of these metrics by its step, in order."""
        with self._errors():
            found = {name: self._client.get_metric_history(run, name) for name in metrics}
        in_order = {name: sorted(points, key=lambda point: point.step) for name, points in found.items()}
        return {name: {point.step: point.value for point in points} for name, points in in_order.items()}

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

    def log_artifact(self, run: str, file: Path, folder: str) -> None:
        """Upload one file into a folder of the run's artifacts."""
        with self._errors():
            self._client.log_artifact(run, str(file), folder or None)

    def sizes(self, run: RunSummary, folder: str) -> dict[str, int]:
        """Return the bytes of each file in a folder of a run's artifacts; none where there is no such folder."""
        with self._errors():
            return {str(file.path): int(file.file_size or 0) for file in self._files_of(run).list_artifacts(folder)}

    def fetch(self, run: RunSummary, artifact: str, into: Path) -> Path:
        """Download one file; unlike `download` it looks the run up no more, so that hundreds are quick."""
        with self._errors():
            return Path(self._files_of(run).download_artifacts(artifact, str(into)))

    def _files_of(self, run: RunSummary) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(run.artifacts, tracking_uri=self.uri)

    def download(self, run: str, artifact: str, into: Path) -> Path:
        """Download one artifact, a file or a folder, and return its local path."""
        with self._errors():
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
        """Give MLflow's own client for what is no part of a sweep; what it raises becomes a TrackingError."""
        with self._errors():
            yield self._client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except TrackingError:
            raise
        except Exception as error:
            if not _is_foreign(error, SQLAlchemyError):
                raise
            message = f"MLflow at {self.uri}: {str(error).splitlines()[0]}"
            raise TrackingError(hide_credentials(message)) from error


def _summary(run: Run) -> RunSummary:
    last = max((metric.timestamp for metric in run.data._metric_objs), default=run.info.start_time)
    info, data = run.info, run.data
    return RunSummary(
        str(info.run_id),
        str(info.run_name),
        str(info.status),
        dict(data.tags),
        int(last),
        dict(data.metrics),
        str(info.artifact_uri),
    )


def _is_foreign(error: Exception, sqlalchemy_error: type[Exception]) -> bool:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    return isinstance(error, MlflowException | RequestException | sqlalchemy_error | OSError)


class SystemMonitor:
    """MLflow's own system metrics, sampled by us and sent with the rest."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        try:
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            self._monitors.append(GPUMonitor())
        except Exception:
            # Whatever pynvml raises on a machine without an NVIDIA driver: there is nothing to sample.
            logger.debug("no GPU to monitor", exc_info=True)

    def sample(self) -> dict[str, float]:
        """Return the machine's load now, under the names that MLflow's page knows."""
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values.update({f"system/{key}": float(value) for key, value in monitor.aggregate_metrics().items()})
            monitor.clear_metrics()
        return values

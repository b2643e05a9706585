"""The files of a working directory: the databases, and what its studies share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sweeper.files import is_hidden
from sweeper.paths.finished import EvaluationFolder, folder_of_class
from sweeper.paths.study import STATE, StudyFolder

MLFLOW_DATABASE = "mlflow.db"
MLFLOW_ARTIFACTS = "mlruns"
OPTUNA_DATABASE = "optuna.db"
EXPORTS = "exports"
EVALUATIONS = "evaluations"
TENSORBOARD = "tensorboard"
REPORTS = "reports"
REPRODUCTION = "reproduce-"
SPLITS = ("train", "val", "test")


def _seen(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not is_hidden(path.name)]


@dataclass(frozen=True)
class FetchedFolder:
    """A data set that was fetched from an address. All of it is there once `signs` is."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path.with_suffix(".lock")

    @property
    def signs(self) -> Path:
        """By what the files at the address are known to be the same."""
        return self.path / "signs.json"

    @property
    def content(self) -> Path:
        return self.path / "content"

    @property
    def images(self) -> Path:
        """The folder or the CSV file: what a single folder around everything, or a single file, leads to."""
        path = self.content
        while len(inside := _seen(path)) == 1 and inside[0].name not in SPLITS:
            path = inside[0]
            if path.is_file():
                break
        return path


@dataclass(frozen=True)
class Workspace:
    """The working directory of one or more studies."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / STATE

    @property
    def mlflow_database(self) -> Path:
        return self.root / MLFLOW_DATABASE

    @property
    def mlflow_building(self) -> Path:
        """Where a new MLflow database is made, before it is moved to its place."""
        return self.state / "mlflow-building"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / MLFLOW_ARTIFACTS

    @property
    def optuna_database(self) -> Path:
        return self.root / OPTUNA_DATABASE

    @property
    def database_lock(self) -> Path:
        """Held while a database is created, which is not safe against a second process."""
        return self.state / "databases.lock"

    @property
    def looks_lock(self) -> Path:
        """Held while looks at test splits are kept or counted: two evaluations may end at the same time."""
        return self.state / "looks.lock"

    @property
    def registry_lock(self) -> Path:
        """Held while a model is registered: of two commands in this folder the second finds the first one's version."""
        return self.state / "registry.lock"

    @property
    def cache(self) -> Path:
        """Decoded images, shared by all studies."""
        return self.state / "cache"

    @property
    def features(self) -> Path:
        """What frozen backbones make of the images, shared by all studies; may be removed at any time."""
        return self.state / "features"

    @property
    def kept_weights(self) -> Path:
        """Weights of trials that other studies begin from."""
        return self.state / "weights"

    def weights(self, digest: str) -> Path:
        """Return one of them, by the digest of the file."""
        return self.kept_weights / f"{digest}.safetensors"

    def fetched(self, key: str) -> FetchedFolder:
        """Return where the data of an address lies, by a digest of the address."""
        return FetchedFolder(self.state / "fetched" / key)

    def shipped(self, digest: str, name: str) -> Path:
        """Return where a node of a cluster keeps a file of the driver's machine, by its content."""
        return self.state / "shipped" / digest / name

    @property
    def builtin(self) -> Path:
        """Image files of the embedded data sets."""
        return self.state / "builtin"

    def micro_batches(self, backbone: str, image_size: int, trainable: str, device: str) -> Path:
        """How many images of a network fit in memory at once, learned by all studies; may be removed to try anew."""
        name = f"{backbone}-{image_size}px-{trainable}-{device}"
        return self.state / "micro-batches" / f"{quote(name, safe=' ')}.json"

    def step_times(self, backbone: str, image_size: int, batch_size: int, trainable: str, device: str) -> Path:
        """How long a step takes with and without compiled code; may be removed to measure anew."""
        name = f"{backbone}-{image_size}px-batch-{batch_size}-{trainable}-{device}"
        return self.state / "step-times" / f"{quote(name, safe=' ')}.json"

    @property
    def studies(self) -> Path:
        """The folders of all studies."""
        return self.state / "studies"

    def studies_run(self) -> list[str]:
        """Return the names of the studies that have been run in this folder."""
        return sorted(
            path.name for path in self.studies.glob("*") if StudyFolder(path).card.exists() and "~" not in path.name
        )

    def device_lock(self, device: str) -> Path:
        """Held while a worker places its images on a device."""
        return self.state / "devices" / f"{quote(device, safe='')}.lock"

    def study(self, name: str) -> StudyFolder:
        return StudyFolder(self.studies / name)

    def earlier_study(self, name: str, identity: str) -> Path:
        """Where what an earlier study of the same name has left is put aside; no study can be called so."""
        return self.studies / f"{name}~{identity}"

    def earlier_studies(self, name: str) -> list[Path]:
        """Return where what earlier studies of a name have left was put aside."""
        if not self.studies.exists():
            return []
        return sorted(path for path in self.studies.iterdir() if path.name.startswith(f"{name}~") and path.is_dir())

    def reproduction(self, key: str) -> Path:
        """Return where `sweeper reproduce` trains a trial again; it is gone at its end."""
        return self.state / f"{REPRODUCTION}{key}"

    def reproductions(self) -> list[Path]:
        """Return all such folders, those of processes that were killed among them; of some only the lock is left."""
        return sorted({path.with_suffix("") for path in self.state.glob(f"{REPRODUCTION}*")})

    def tensorboard(self, study: str) -> Path:
        """Event files, a folder for each trial."""
        return self.root / TENSORBOARD / study

    def export(self, study: str, trial: int | None = None) -> Path:
        """Return the folder of the winner's export, or that of another trial."""
        return self.root / EXPORTS / _model_name(study, trial)

    def report(self, study: str) -> Path:
        return self.root / REPORTS / f"{study}.html"

    def evaluation(
        self, model: str, split: str, trial: int | None = None, data: Path | None = None
    ) -> EvaluationFolder:
        """Return the folder of an evaluation; on other images than the model's own, at `data`, it bears their name."""
        name = split if data is None else f"{folder_of_class(data.resolve().name)}-{split}"
        return EvaluationFolder(self.root / EVALUATIONS / _model_name(model, trial) / name)


def _model_name(study: str, trial: int | None) -> str:
    """Return a name that no study can have, where a trial is named that need not be the winner."""
    return study if trial is None else f"{study}@{trial}"

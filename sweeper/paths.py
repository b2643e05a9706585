"""Every file and folder that sweeper makes, by name.

All of it lies in the working directory: MLflow's and Optuna's databases beside each other, and
everything of ours under `.sweeper/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

MLFLOW_DATABASE = "mlflow.db"
MLFLOW_ARTIFACTS = "mlruns"
OPTUNA_DATABASE = "optuna.db"
EXPORTS = "exports"
EVALUATIONS = "evaluations"
TENSORBOARD = "tensorboard"
REPORTS = "reports"
STATE = ".sweeper"
WRITTEN_LISTS = ".sweeper-lists.json"
"""Beside the lists of `sweeper data`: by what it knows them again."""


LONGEST_FOLDER = 200  # bytes of a folder's name; file systems allow 255


def folder_of_class(name: str) -> str:
    """Return a folder's name for a class: letters, digits and a few signs as they are, all else as %XX.

    Different classes give different names, and none of them is empty, hidden or leads anywhere.
    """
    kept = "".join(c if c.isalnum() or c in " -_,()+@&'." else quote(c, safe="", errors="surrogatepass") for c in name)
    if not kept or kept[0] in ". " or kept[-1] in ". ":
        kept = "%" + kept.replace(".", "%2E").replace(" ", "%20")
    if len(kept.encode(errors="surrogatepass")) > LONGEST_FOLDER:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        kept = f"{kept.encode()[: LONGEST_FOLDER - 20].decode(errors='ignore')}%{digest}"
    return kept


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

    def device_lock(self, device: str) -> Path:
        """Held while a worker places its images on a device."""
        return self.state / "devices" / f"{quote(device, safe='')}.lock"

    def study(self, name: str) -> StudyFolder:
        return StudyFolder(self.studies / name)

    def earlier_study(self, name: str, identity: str) -> Path:
        """Where what an earlier study of the same name has left is put aside; no study can be called so."""
        return self.studies / f"{name}~{identity}"

    def tensorboard(self, study: str) -> Path:
        """Event files, a folder for each trial."""
        return self.root / TENSORBOARD / study

    def export(self, study: str) -> Path:
        return self.root / EXPORTS / study

    def report(self, study: str) -> Path:
        return self.root / REPORTS / f"{study}.html"

    def evaluation(self, model: str, split: str) -> EvaluationFolder:
        return EvaluationFolder(self.root / EVALUATIONS / model / split)


@dataclass(frozen=True)
class EvaluationFolder:
    """What `sweeper evaluate` writes about one split."""

    path: Path

    @property
    def confusion(self) -> Path:
        return self.path / "confusion.csv"

    @property
    def picture(self) -> Path:
        return self.path / "confusion.png"

    @property
    def classes(self) -> Path:
        """Precision, recall and F1 of every class."""
        return self.path / "classes.csv"

    @property
    def reconstructions(self) -> Path:
        """Some images above what an autoencoder makes of them."""
        return self.path / "reconstructions.png"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"


@dataclass(frozen=True)
class StudyFolder:
    """What one study keeps on disk while trials are unfinished or undelivered."""

    path: Path

    @property
    def root(self) -> Path:
        """The working directory that it lies in."""
        return next(folder.parent for folder in self.path.parents if folder.name == STATE)

    @property
    def lock(self) -> Path:
        return self.path / "driver.lock"

    @property
    def identity(self) -> Path:
        """The study's id, and where this folder was when it was last used."""
        return self.path / "identity.json"

    @property
    def sweep(self) -> Path:
        """What the parent run holds: the configuration, and later the summary."""
        return self.path / "sweep"

    @property
    def parent_run(self) -> Path:
        """The MLflow run that this is recorded in, and what has been delivered to it."""
        return self.sweep / "run.json"

    @property
    def history(self) -> Path:
        """How the best value rose: the metrics of the parent run."""
        return self.sweep / "history.json"

    @property
    def artifacts(self) -> Path:
        """Laid out as in the parent run."""
        return self.sweep / "artifacts"

    @property
    def card(self) -> Path:
        """What every run of the study records."""
        return self.sweep / "card.json"

    @property
    def images(self) -> Path:
        """Which images there were when the study last began or went on, and their state."""
        return self.path / "images.npz"

    def folds(self, key: str) -> FoldsFolder:
        """What `sweeper data label-errors` has done so far, by what it depends on."""
        return FoldsFolder(self.path / f"folds-{key}")

    @property
    def start(self) -> StartFolder:
        """What the study's trials start from, where it goes on from a trial of another one."""
        return StartFolder(self.path / "start")

    @property
    def worker_logs(self) -> Path:
        return self.path / "logs"

    @property
    def confirmation(self) -> StudyFolder:
        """Where its leaders are trained again; laid out alike."""
        return StudyFolder(self.path / "confirmation")

    @property
    def of_study(self) -> StudyFolder:
        """Of a confirmation: the folder of the study whose leaders they are."""
        return StudyFolder(self.path.parent)

    @property
    def repetitions(self) -> Path:
        """Of a confirmation: what is trained again, and how it ended."""
        return self.path / "repetitions.json"

    @property
    def test_looks(self) -> Path:
        """Of a confirmation: when the test split was looked at, for which trial, and what was seen."""
        return self.path / "test.json"

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.path / f"trial-{number:04d}")

    def trials(self) -> list[TrialFolder]:
        """Return the folders of all unfinished or undelivered trials, by number."""
        return [TrialFolder(path) for path in sorted(self.path.glob("trial-*"), key=lambda path: int(path.name[6:]))]

    def delivered(self) -> list[Path]:
        """Return what is left of folders whose removal was cut short."""
        return sorted(self.path.glob("delivered-*"))


@dataclass(frozen=True)
class FoldsFolder:
    """The trainings of a winner on folds, while not all of them have ended."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path.with_suffix(".lock")

    def trial(self, fold: int) -> TrialFolder:
        """The training without a fold."""
        return TrialFolder(self.path / f"trial-{fold:04d}")

    def judged(self, fold: int) -> Path:
        """The probabilities of the classes of a fold's images, float64 [H, C]."""
        return self.path / f"judged-{fold:04d}.npz"


@dataclass(frozen=True)
class StartFolder:
    """What a continuation starts from. All of it is there once `source` is."""

    path: Path

    @property
    def source(self) -> Path:
        """Which trial it comes from."""
        return self.path / "source.json"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def optimizer(self) -> Path:
        return self.path / "optimizer.pt"

    @property
    def history(self) -> Path:
        """The metrics of the epochs before."""
        return self.path / "history.json"


@dataclass(frozen=True)
class TrialFolder:
    """One trial's files: begun by the driver, filled by a worker, delivered to MLflow, then removed."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name.removeprefix("trial-"))

    @property
    def delivered(self) -> Path:
        """The folder's name while it is being removed, so that half of it is not taken for the whole."""
        return self.path.with_name(f"delivered-{self.number:04d}")

    @property
    def lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def spec(self) -> Path:
        """Number, seed and hyperparameters."""
        return self.path / "spec.json"

    @property
    def checkpoint(self) -> Path:
        """Everything needed to go on after the last finished epoch."""
        return self.path / "checkpoint.pt"

    @property
    def checkpoint_before(self) -> Path:
        """The checkpoint of the epoch before, should the last one be damaged."""
        return self.path / "checkpoint-before.pt"

    @property
    def history(self) -> Path:
        """The metrics of every finished epoch."""
        return self.path / "history.json"

    @property
    def outcome(self) -> Path:
        """How the trial ended; absent while it is unfinished."""
        return self.path / "outcome.json"

    @property
    def run(self) -> Path:
        """The MLflow run this trial is recorded in, and what has been delivered to it."""
        return self.path / "run.json"

    @property
    def artifacts(self) -> Path:
        """Laid out as in the MLflow run."""
        return self.path / "artifacts"

    @property
    def weights(self) -> Path:
        return self.artifacts / "weights"

    def weights_of(self, epoch: int) -> Path:
        return self.weights / f"epoch-{epoch:04d}.safetensors"

    def optimizer_of(self, epoch: int) -> Path:
        """The optimizer's state beside those weights, where it is kept."""
        return self.weights / f"epoch-{epoch:04d}.optimizer.pt"

    @property
    def predictions(self) -> Path:
        return self.artifacts / "predictions"

    def predictions_of(self, epoch: int) -> Path:
        """What the model says about every validation image after an epoch."""
        return self.predictions / f"epoch-{epoch:04d}.npz"

    @property
    def confusion(self) -> Path:
        return self.artifacts / "confusion"

    @property
    def reconstructions(self) -> Path:
        """Pictures of validation images above what an autoencoder makes of them."""
        return self.artifacts / "reconstructions"

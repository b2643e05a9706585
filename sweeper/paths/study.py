"""The files of one study, while its trials are unfinished or undelivered, and of its confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.paths.trial import TrialFolder

STATE = ".sweeper"
SEARCH_SPACE = "search_space.yaml"


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
    def requests(self) -> Path:
        """What its driver is asked for while it runs."""
        return self.path / "requests"

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
    def ending(self) -> Path:
        """How the latest driver has ended, or that it has not."""
        return self.sweep / "ending.json"

    @property
    def history(self) -> Path:
        """How the best value rose: the metrics of the parent run."""
        return self.sweep / "history.json"

    @property
    def artifacts(self) -> Path:
        """Laid out as in the parent run."""
        return self.sweep / "artifacts"

    @property
    def search_space(self) -> Path:
        return self.artifacts / SEARCH_SPACE

    @property
    def trials_table(self) -> Path:
        return self.artifacts / "trials.csv"

    @property
    def best_trial(self) -> Path:
        return self.artifacts / "best_trial.json"

    @property
    def repetitions_table(self) -> Path:
        """Of a confirmation: how each repetition ended."""
        return self.artifacts / "repetitions.csv"

    @property
    def judgement(self) -> Path:
        """Of a confirmation: what the repetitions say of the best trials."""
        return self.artifacts / "confirmation.json"

    @property
    def card(self) -> Path:
        """What every run of the study records."""
        return self.sweep / "card.json"

    @property
    def arriving(self) -> Path:
        """What is on its way from nodes of a cluster into folders of trials."""
        return self.path / "arriving"

    @property
    def sender(self) -> Path:
        """By what name the latest driver leaves files for nodes of a cluster in a folder that they share."""
        return self.path / "sender"

    @property
    def images(self) -> Path:
        """Which images there were when the study last began or went on, and their state."""
        return self.path / "images.npz"

    @property
    def looks(self) -> Path:
        """Looks at the test split by `sweeper evaluate` that MLflow has not counted yet."""
        return self.path / "looks.json"

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

"""What every task does, of all that `task:` may name. A new one is one entry in CASES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from sweeper.config.sweep import ObjectiveConfig
from sweeper.config.task import METRICS, TaskConfig
from sweeper.data.batches import DeviceImages
from sweeper.export.autoencoder_export import AutoencoderReport, export_autoencoder
from sweeper.export.export import ExportReport, export_model
from sweeper.export.export_input import ExportInput, Training
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.training.inputs import TrialData
from tests.functional.program import REPOSITORY
from tests.training.learnable import TIMED, colored, comparable, run, spec_of

AUTOENCODER = REPOSITORY / "models" / "cifar10_autoencoder.py"
SIDE = 12
BESIDE = {"lr", "micro_batch_size"} | TIMED
"""What is recorded of every epoch whatever the task."""


@dataclass(frozen=True)
class Case:
    """A task in a small trial, and how that is exported."""

    objective: str
    export: Callable[[ExportInput, DeviceImages, Path], ExportReport | AutoencoderReport]
    config: dict[str, Any] = field(default_factory=dict)
    model_files: tuple[Path, ...] = ()


CASES: dict[str, Case] = {
    "classification": Case("val/accuracy", export_model),
    "reconstruction": Case(
        "val/psnr",
        export_autoencoder,
        {"backbone": "cifar10_autoencoder_narrow", "scheduler": "constant"},
        (AUTOENCODER,),
    ),
}
NAMES = [str(get_args(kind.model_fields["name"].annotation)[0]) for kind in get_args(get_args(TaskConfig)[0])]


@dataclass(frozen=True)
class Task:
    """A task and its case."""

    name: str
    case: Case

    def spec(self, epochs: int = 3) -> TrialSpec:
        spec = spec_of(epochs, image_size=SIDE, augment={"flip": True}, **self.case.config)
        return spec.model_copy(update={"task": TypeAdapter(TaskConfig).validate_python(self.name)})

    def train(
        self, folder: Path, data: TrialData, on_epoch: Callable[[EpochMetrics], bool] = lambda metrics: False
    ) -> tuple[TrialOutcome, list[EpochMetrics]]:
        objective = ObjectiveConfig.model_validate({"metric": self.case.objective})
        return run(self.spec(), folder, data, on_epoch, objective=objective)


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    name = str(request.param)
    if name not in CASES or name not in METRICS:
        pytest.fail(f"the task {name} is to have an entry in CASES here and in METRICS of sweeper/config/task.py")
    load_model_files(CASES[name].model_files)
    return Task(name, CASES[name])


@pytest.fixture
def data() -> TrialData:
    return colored(train=34, val=12, size=SIDE, noise=20)


def test_exactly_the_metrics_of_the_task_are_measured_and_finite_in_every_epoch(
    task: Task, data: TrialData, tmp_path: Path
) -> None:
    outcome, history = task.train(tmp_path, data)
    assert outcome.state is TrialState.COMPLETE
    assert [point.epoch for point in history] == [1, 2, 3]
    for point in history:
        assert set(point.values) == {*METRICS[task.name], *BESIDE}
        assert all(math.isfinite(value) for value in point.values.values())


def test_a_trial_may_be_judged_by_the_metrics_of_its_task(task: Task, data: TrialData, tmp_path: Path) -> None:
    outcome, history = task.train(tmp_path, data)
    assert task.case.objective in METRICS[task.name]
    assert outcome.best_value == max(point.values[task.case.objective] for point in history)


def test_a_trial_killed_after_every_epoch_ends_as_one_that_never_was(
    task: Task, data: TrialData, tmp_path: Path
) -> None:
    class Killed(Exception):
        """Stands for a process that dies at this point."""

    def die_after(last: int) -> Callable[[EpochMetrics], bool]:
        def die(metrics: EpochMetrics) -> bool:
            if metrics.epoch == last:
                raise Killed
            return False

        return die

    outcome, history = task.train(tmp_path / "whole", data)
    for epoch in (1, 2):
        with pytest.raises(Killed):
            task.train(tmp_path / "broken", data, die_after(epoch))
    resumed, again = task.train(tmp_path / "broken", data)
    assert comparable(again) == comparable(history)
    assert resumed.best_epoch == outcome.best_epoch
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")


def kept(folder: Path) -> dict[str, bytes]:
    """Return the files that a trial leaves, by name: weights, predictions, confusion matrices, pictures."""
    artifacts = folder / "artifacts"
    files = [path for path in artifacts.rglob("*") if path.is_file()]
    assert files
    return {str(path.relative_to(artifacts)): path.read_bytes() for path in files}


def test_the_best_epoch_is_exported_and_the_export_checked(task: Task, data: TrialData, tmp_path: Path) -> None:
    outcome, _ = task.train(tmp_path / "trial", data)
    assert outcome.best_epoch is not None
    assert isinstance(data.val, DeviceImages)
    source = ExportInput(
        study="s",
        trial=0,
        config=task.spec().config,
        classes=data.classes,
        weights=TrialFolder(tmp_path / "trial").weights_of(outcome.best_epoch),
        metrics=outcome.best_metrics,
        best_epoch=outcome.best_epoch,
        dataset={"name": "squares", "digest": "0" * 32, "images": {"train": 34, "val": 12}},
        stored_size=SIDE,
        resize="crop",
        training=Training(),
        model_files=task.case.model_files,
    )
    report = task.case.export(source, data.val, tmp_path / "export")
    written = {path.name for path in report.folder.iterdir()}
    assert {"README.md", "config.json", "verification.json", "model.safetensors"} <= written

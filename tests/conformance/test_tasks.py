"""What every task does, of all that `task:` may name. A new one is one entry in CASES."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from sweeper.config.sweep import ObjectiveConfig, SweepConfig
from sweeper.config.task import METRICS, TaskConfig
from sweeper.display.evaluation import tables_of
from sweeper.errors import StudyError
from sweeper.export.export_input import ExportInput, Training
from sweeper.finished.task import NOTHING_MORE, EvaluationJob, ExportJob
from sweeper.finished.tasks import TASKS, finished_task
from sweeper.modeling.registry import load_model_files
from sweeper.paths import EvaluationFolder, TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.training.inputs import TrialData
from tests.functional.program import REPOSITORY
from tests.training.learnable import TIMED, colored, comparable, run, spec_of, square_images

AUTOENCODER = REPOSITORY / "models" / "cifar10_autoencoder.py"
SIDE, TRAIN, VAL, NOISE = 12, 34, 12, 20
BESIDE = {"lr", "micro_batch_size"} | TIMED
"""What is recorded of every epoch whatever the task."""


@dataclass(frozen=True)
class Case:
    """A task in a small trial."""

    objective: str
    config: dict[str, Any] = field(default_factory=dict)
    model_files: tuple[Path, ...] = ()


CASES: dict[str, Case] = {
    "classification": Case("val/accuracy"),
    "reconstruction": Case(
        "val/psnr",
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
    for entries, where in (
        (CASES, "CASES here"),
        (METRICS, "METRICS of sweeper/config/task.py"),
        (TASKS, "TASKS of sweeper/finished/tasks.py"),
    ):
        if name not in entries:
            pytest.fail(f"the task {name} is to have an entry in {where}")
    load_model_files(CASES[name].model_files)
    return Task(name, CASES[name])


@pytest.fixture
def data() -> TrialData:
    return colored(train=TRAIN, val=VAL, size=SIDE, noise=NOISE)


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


@pytest.fixture
def job(task: Task, data: TrialData, tmp_path: Path) -> EvaluationJob:
    """A trained trial, to be evaluated on its validation images."""
    outcome, _ = task.train(tmp_path / "trial", data)
    assert outcome.best_epoch is not None
    spec = task.spec()
    return EvaluationJob(
        study="s",
        task=spec.task,
        row=row_of(spec, outcome),
        config=spec.config,
        weights=TrialFolder(tmp_path / "trial").weights_of(outcome.best_epoch),
        images=square_images(np.arange(TRAIN + VAL) % 3, TRAIN, 3, SIDE, NOISE),
        split="val",
        data="squares",
        device=torch.device("cpu"),
    )


def row_of(spec: TrialSpec, outcome: TrialOutcome) -> TrialRow:
    return TrialRow(
        number=0,
        state=outcome.state,
        value=outcome.best_value,
        best_epoch=outcome.best_epoch,
        epochs=spec.epochs,
        seconds=1,
        ended_ms=1,
        params={},
        config_json=spec.config.model_dump_json(),
        reason=None,
        outcome=outcome,
    )


def test_a_finished_trial_is_evaluated_to_the_metrics_that_its_validation_gave(
    task: Task, job: EvaluationJob, tmp_path: Path
) -> None:
    report = TASKS[task.name].evaluate(job)
    assert job.row.outcome is not None
    validated = {name: value for name, value in job.row.outcome.best_metrics.items() if name.startswith("val/")}
    assert {f"val/{name}": value for name, value in report.values.items()} == pytest.approx(validated, abs=1e-6)
    assert report.images == VAL
    folder = EvaluationFolder(tmp_path / "evaluation")
    assert all(file.stat().st_size for file in report.write(folder))
    assert json.loads(folder.scores.read_text())["metrics"] == report.values
    assert tables_of(report)


def test_the_best_epoch_is_exported_and_the_export_checked(task: Task, job: EvaluationJob, tmp_path: Path) -> None:
    outcome = job.row.outcome
    assert outcome is not None
    assert outcome.best_epoch is not None
    source = ExportInput(
        study="s",
        trial=0,
        config=job.config,
        classes=job.images.classes,
        weights=job.weights,
        metrics=outcome.best_metrics,
        best_epoch=outcome.best_epoch,
        dataset={"name": "squares", "digest": "0" * 32, "images": {"train": TRAIN, "val": VAL}},
        stored_size=SIDE,
        resize="crop",
        training=Training(),
        model_files=task.case.model_files,
    )
    asked = ExportJob(source, job.images, job.device, tmp_path / "export", NOTHING_MORE, list, tmp_path)
    report = TASKS[task.name].export(asked)
    written = {path.name for path in report.folder.iterdir()}
    assert {"README.md", "config.json", "verification.json", "model.safetensors"} <= written


def test_a_task_that_cannot_be_evaluated_or_exported_is_refused_and_never_taken_for_another() -> None:
    space = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}}
    sweep = SweepConfig.model_validate(space)
    other = sweep.model_copy(update={"task": sweep.task.model_copy(update={"name": "segmentation"})})
    with pytest.raises(StudyError, match=r"task segmentation of the study s .* only classification, reconstruction"):
        finished_task(other)

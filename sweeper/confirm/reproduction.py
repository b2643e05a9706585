"""A trial trained again from what its MLflow run says, and whether the same numbers come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import DiskTrouble, Engine, EpochFinished, ImagesChanged, TrialEnded, WorkerDied
from sweeper.errors import DiskError, StudyError
from sweeper.paths import CONFIG, SEARCH_SPACE, StudyFolder, Workspace
from sweeper.results import SIMULATED, EpochMetrics, TrialOutcome, TrialSpec
from sweeper.study.card import environment
from sweeper.study.continue_from import kept_start
from sweeper.study.model_files import require_logged
from sweeper.study.place import read_identity
from sweeper.study.preparation import dataset_name, prepare_dataset
from sweeper.study.pretrained import with_kept_weights
from sweeper.study.same_images import require_same_images
from sweeper.study.teachers import kept_teacher
from sweeper.study.trained import not_trained
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.tags import DIGEST_TAG, ENVIRONMENT_TAG, ID_TAG, PRUNED_TAG, REASON_TAG, THREADS_TAG

JUDGING = ("train/", "val/")
"""Metrics that judge the model begin like this; times and memory are nobody's promise."""

Curves = Mapping[str, Mapping[int, float]]
"""`{metric: {epoch: value}}`, epochs from 1."""


@dataclass(frozen=True)
class Logged:
    """All that a run says of its training."""

    run: str
    name: str
    study: str | None
    """The id of its study."""
    tags: Mapping[str, str]
    sweep: SweepConfig
    spec: TrialSpec
    curves: Curves
    stopped_at: int | None
    """The epoch after which it was pruned, or else ended before its last one."""
    threads: int | None
    digest: str
    environment: str


@dataclass(frozen=True)
class Deviation:
    """How far one metric came out from what was logged, at the epoch where that was farthest."""

    metric: str
    epoch: int
    logged: float
    again: float | None

    def within(self, tolerance: float) -> bool:
        """Return whether it is off by at most so much, and for numbers above 1 by at most such a part of them."""
        return self.again is not None and abs(self.again - self.logged) <= tolerance * max(1.0, abs(self.logged))


@dataclass(frozen=True)
class Reproduction:
    """What came out."""

    logged: Logged
    epochs: int
    deviations: tuple[Deviation, ...]
    """Of the metrics that are not the same to the last digit."""
    same_conditions: bool
    """The same processor, versions and threads, without a GPU: every digit must then be the same."""

    def matches(self, tolerance: float) -> bool:
        if self.same_conditions or not self.epochs:
            return not self.deviations
        return all(deviation.within(tolerance) for deviation in self.deviations)


def read_logged(store: MlflowStore, run: str, into: Path) -> Logged:
    """Return what a run says of its training; `into` takes its configuration files.

    Raises StudyError when it is not a trial's run, or its configuration does not fit this version.
    """
    logged = store.run(run)
    if logged.parent is None or "seed" not in logged.params:
        raise StudyError(f"the run {run} is not a trial's run; take the id of a run named trial-NNNN from `mlflow ui`")
    try:
        content = yaml.safe_load(store.download(run, CONFIG, into).read_text(encoding="utf-8"))
        config = TrialConfig.model_validate(content["search"])
        sweep = _sweep_of(store, logged.parent, into)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise StudyError(
            f"the configuration logged with the run {run} does not fit this version of sweeper ({place}: "
            f"{first['msg']}); use the version that ran it"
        ) from None
    spec = TrialSpec(
        number=0,
        seed=int(logged.params["seed"]),
        epochs=int(logged.params["epochs"]),
        config=config,
        task=sweep.task,
    )
    if not any(name.startswith(JUDGING) for name in logged.metrics):
        raise _nothing_logged(logged.name, logged.tags)
    pruned, threads = logged.tags.get(PRUNED_TAG), logged.tags.get(THREADS_TAG)
    curves = store.curves([run], [name for name in logged.metrics if name.startswith(JUDGING)])[run]
    return Logged(
        run=run,
        name=logged.name,
        study=logged.tags.get(ID_TAG),
        tags=logged.tags,
        sweep=sweep,
        spec=spec,
        curves=curves,
        stopped_at=int(pruned) if pruned else _ended_early(curves, sweep.dataset.folds or spec.epochs),
        threads=int(threads) if threads else None,
        digest=logged.tags.get(DIGEST_TAG, ""),
        environment=logged.tags.get(ENVIRONMENT_TAG, ""),
    )


def _ended_early(curves: Curves, planned: int) -> int | None:
    """Return the last epoch of a trial that ended before the planned one: by its patience, a request or a deadline.

    Of a cross-validated trial these are folds.
    """
    last = max((epoch for curve in curves.values() for epoch in curve), default=planned)
    return last if last < planned else None


def _sweep_of(store: MlflowStore, parent: str, into: Path) -> SweepConfig:
    """Return the search space of the study that a run belongs to; a confirmation stands one below it."""
    above = store.run(parent).parent or parent
    text = store.download(above, SEARCH_SPACE, into).read_text(encoding="utf-8")
    return SweepConfig.model_validate(yaml.safe_load(text))


def require_same_beginning(logged: Logged, workspace: Workspace) -> None:
    """Raise StudyChanged when the images are others than the run was trained on, or a model file is."""
    if logged.digest == SIMULATED:
        raise not_trained(logged.sweep.study)
    require_logged(logged.sweep.study, logged.tags, logged.sweep.model_files)
    size = logged.spec.config.image_size
    space = logged.sweep.search.model_copy(update={"image_size": size})
    sweep = logged.sweep.model_copy(update={"search": space})
    digest = prepare_dataset(sweep, workspace, lambda *_: None).images.digest
    elsewhere = "run it from the folder that holds them"
    require_same_images(
        dataset_name(sweep), f"the run {logged.run}", now=digest, then=logged.digest, otherwise=elsewhere
    )


def with_beginning(logged: Logged, workspace: Workspace) -> Logged:
    """Add the weights that the trial began with, and its teacher's, as they are kept here. Raises StudyError."""
    folder = workspace.study(logged.sweep.study)
    local = read_identity(folder)
    if local is not None and logged.study is not None and local.id != logged.study:  # another study of this name
        folder = StudyFolder(workspace.earlier_study(logged.sweep.study, logged.study))
    config = with_kept_weights(logged.spec.config, folder, workspace)
    teacher, start = kept_teacher(config, folder, workspace), kept_start(workspace, folder)
    spec = logged.spec.model_copy(update={"config": config, "teacher": teacher, "start": start})
    if not any(epoch > spec.epochs_before for curve in logged.curves.values() for epoch in curve):
        raise _nothing_logged(logged.name, logged.tags)
    return replace(logged, spec=spec)


def _nothing_logged(name: str, tags: Mapping[str, str]) -> StudyError:
    why = tags.get(REASON_TAG, "it has not finished an epoch of its own")
    return StudyError(f"{name} has no metrics that could come out again: {why}; name a trial that has some")


def train_again(logged: Logged, engine: Engine) -> tuple[TrialOutcome, list[EpochMetrics]]:
    """Train a run's trial in a slot of an engine, and end it where it ended then. Raises StudyError."""
    history: list[EpochMetrics] = []
    submitted = False
    while True:
        if not submitted and engine.idle:
            engine.submit([logged.spec])
            submitted = True
        for event in engine.events(0.5):
            match event:
                case EpochFinished(number, metrics):
                    history.append(metrics)
                    engine.answer(number, prune=metrics.epoch == logged.stopped_at)
                case TrialEnded(_, outcome):
                    return outcome, history
                case WorkerDied(_, reason, _):
                    raise StudyError(f"{logged.name} could not be trained again: {reason}; try it once more")
                case DiskTrouble(_, message):
                    raise DiskError(message)
                case ImagesChanged(_, message):
                    raise StudyError(message)


def compare(logged: Logged, outcome: TrialOutcome, history: Sequence[EpochMetrics]) -> Reproduction:
    """Hold what came out against what was logged, every metric at every epoch that the trial itself has trained."""
    deviations = []
    for metric, curve in sorted(logged.curves.items()):
        again = {point.epoch: point.values[metric] for point in history if metric in point.values}
        own = {epoch: value for epoch, value in curve.items() if epoch > logged.spec.epochs_before}
        found = [Deviation(metric, epoch, value, again.get(epoch)) for epoch, value in own.items()]
        off = [deviation for deviation in found if deviation.again != deviation.logged]
        if off:
            deviations.append(max(off, key=_distance))
    same = outcome.device == "cpu" and environment() == logged.environment and outcome.threads == logged.threads
    same = same and logged.sweep.compile != "auto"  # which goes by the clock
    return Reproduction(logged, len(history), tuple(deviations), same)


def _distance(deviation: Deviation) -> float:
    return float("inf") if deviation.again is None else abs(deviation.again - deviation.logged)

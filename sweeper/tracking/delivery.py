"""Bring one folder on disk into its MLflow run, from wherever an earlier attempt stopped.

The folder is the outbox: what is to be recorded stands there first, and is removed when it has
arrived. Delivering twice changes nothing.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field

from sweeper.config.flatten import flatten
from sweeper.config.frozen import Frozen
from sweeper.errors import DamagedFile, TrackingError
from sweeper.files import write_sealed, write_whole
from sweeper.identity import Identity
from sweeper.paths import BEST_CONFUSION, StudyFolder, TrialFolder
from sweeper.results import (
    EpochMetrics,
    PinnedTeacher,
    PinnedWeights,
    TrialOutcome,
    TrialSpec,
    TrialState,
    average_of,
    read_history,
    read_outcome,
    read_spec,
)
from sweeper.scores.confusion import Confusion, read_confusion
from sweeper.tracking.image_grid import IMAGES_TAG, add_to_grid
from sweeper.tracking.mean_history import mean_history
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.run_description import note, repeated, run_name
from sweeper.tracking.run_record import RunRecord, lasting_history, lost_weights, read_record
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.tags import (
    AVERAGED_TAG,
    DEVICE_TAG,
    FOLD_TAG,
    NOTE_TAG,
    PARENT_TAG,
    PRUNED_TAG,
    REASON_TAG,
    REPETITION_TAG,
    STATE_TAG,
    STATUS,
    STUDY_TAG,
    SWEEP,
    THREADS_TAG,
    TRIAL_TAG,
)

if TYPE_CHECKING:
    from sweeper.tracking.curves_picture import CurvesPicture


class StudyCard(Frozen):
    """What every run of a study records: stored beside the trials, so that it can be delivered later."""

    study: str
    identity: Identity | None = Field(None, exclude=True)
    """Stands in a file of its own; without one the study was begun by an earlier version of sweeper."""
    experiment: str | None = None
    """What the experiment and the model are called in MLflow, where that is not the study's name."""
    tracking_uri: str
    start_ms: int
    stage: Literal["search", "confirmation"] = "search"
    params: dict[str, Any]
    tags: dict[str, str]
    earlier_tags: dict[int, dict[str, str]] = Field({})
    """Those of runs that began before, by the time in ms up to which they counted, in order."""
    dataset: dict[str, Any]
    pretrained: dict[str, PinnedWeights] = Field({})
    teachers: dict[str, PinnedTeacher] = Field({})
    experiment_tags: dict[str, str] = Field({})
    """What the experiment itself bears: the view that MLflow's page shows of it."""

    def tags_at(self, start_ms: int) -> dict[str, str]:
        """Return the tags of a run that began at a time."""
        return next((tags for until_ms, tags in self.earlier_tags.items() if start_ms < until_ms), self.tags)

    def recorded(self, folder: StudyFolder) -> Recorded:
        """Return which records in MLflow are those of the study that lies in `folder`."""
        of_study = folder if self.stage == "search" else folder.of_study
        run = read_record(of_study.parent_run)
        return Recorded.to_write(self.study, self.identity, self.experiment, run.run_id if run else None)


class Delivery:
    """Delivers the folders of one study to its MLflow experiment.

    Raises TrackingRefused, before anything is written, where that is another study's or another folder's. Once
    `given_up` is set it changes no file of the folder any more and raises TrackingError: another delivery may have
    begun, while this one waited for a server's answer.
    """

    def __init__(
        self, store: MlflowStore, folder: StudyFolder, card: StudyCard, given_up: threading.Event | None = None
    ):
        self._given_up = given_up or threading.Event()
        self._store = store
        self._folder = folder
        self._card = card
        self._recorded = card.recorded(folder)
        self.experiment = StudyRecords(store, self._recorded).begin()
        self._parent: str | None = None
        self._shown = False
        self._seen: set[str] = set()  # runs that are in MLflow, as far as this delivery has looked
        self._before = read_history(folder.start.history)
        self._curves: dict[str, CurvesPicture] = {}
        for leftover in folder.delivered():
            shutil.rmtree(leftover)

    def deliver_sweep(self, status: str) -> str:
        """Bring the parent run up to date and return its id. `status` as MLflow names it."""
        path = self._folder.parent_run
        name = self._card.study if self._card.stage == "search" else f"{self._card.study}-confirmation"
        record = self._record(path, self._identity(SWEEP), name, self._card.start_ms)
        if self._card.experiment_tags and not self._shown:
            self._store.set_experiment_tags(self.experiment, self._card.experiment_tags)
            self._shown = True
        if not record.described:
            self._store.log_params(record.run_id, self._card.params)
            self._store.log_dataset(record.run_id, self._card.dataset)
        history = lasting_history(self._folder.history, record)
        self._store.log_epochs(record.run_id, history[record.epochs :])
        for file in sorted(path for path in self._folder.artifacts.glob("*") if path.suffix != ".part"):
            self._store.log_artifact(record.run_id, file, "")
        record = record.model_copy(update={"described": True, "epochs": len(history)})
        self._set_status(path, record, status)
        if status != "RUNNING":
            self._drop_strays(record.run_id, self._identity(SWEEP))
        self._parent = record.run_id
        return record.run_id

    def deliver_trial(self, folder: TrialFolder, *, ended: bool, running: bool) -> str | None:
        """Bring a trial's run up to date and return its id.

        `ended`: the study counts the trial as finished, so that its folder goes once all has
        arrived. `running`: a worker is on it; otherwise its run is closed until it is continued.
        """
        if not folder.spec.exists():
            return None  # a folder that no driver has begun: there is nothing to record
        spec = read_spec(folder.spec)
        if ended and not folder.outcome.exists():
            raise DamagedFile(f"{folder.outcome} is missing: sweeper doctor {self._card.study} --fix makes it anew")
        outcome = read_outcome(folder.outcome) if ended else None
        record = self._described(folder, spec)
        record, history = self._with_epochs(folder, record)
        for number, fold in folder.folds():
            self._deliver_fold(fold, spec, number, record.run_id, running=running)
        if outcome is None:
            record = self._upload(folder, record, folder.reconstructions.glob("epoch-*.png"))
            self._update_unfinished(folder, record, running)
            return record.run_id
        _add_config(folder, spec)
        self._add_pictures(folder, spec, spec.label, history, outcome)
        add_to_grid(folder, outcome)
        record = self._upload(folder, record, folder.artifacts.rglob("*"))
        self._require_arrived(folder, record)
        self._close(record, outcome, has_images=any(name.startswith("images/") for name in record.artifacts))
        self._drop_strays(record.run_id, self._identity(str(spec.number)))
        self._remove(folder)
        return record.run_id

    def log_system(self, run: str, values: dict[str, float], step: int, timestamp_ms: int) -> None:
        self._store.log_metrics(run, values, step, timestamp_ms)

    def _study_run(self) -> dict[str, str]:
        """Return what puts a confirmation below the run of its study."""
        if self._card.stage == "search":
            return {}
        above = self._store.find_run(self.experiment, self._recorded.tags(TRIAL_TAG, SWEEP))
        return {PARENT_TAG: above} if above else {}

    def _record(
        self, path: Path, identity: dict[str, str], name: str, start_ms: int, tags: dict[str, str] | None = None
    ) -> RunRecord:
        """Return the folder's run: the noted one, if it is in MLflow, else the one with its tags, else a new one.

        Its status is MLflow's, where others may have changed it. What was below a run that is gone goes below the new.
        """
        known = read_record(path)
        if known is not None and known.run_id in self._seen:
            return known
        if known is not None and (status := self._store.status(known.run_id)):
            self._seen.add(known.run_id)
            return known.model_copy(update={"status": status})
        of_study = {STUDY_TAG: self._card.study, **identity, **self._card.tags_at(start_ms)}
        run = self._store.find_run(self.experiment, identity) or self._store.create_run(
            self.experiment, name, {**of_study, **(tags or self._study_run())}, start_ms
        )
        record = RunRecord(run_id=run)
        self._write_record(path, record)
        self._seen.add(run)
        while known is not None and (below := self._store.find_runs(self.experiment, {PARENT_TAG: known.run_id})):
            for one in below:
                self._store.set_tags(one, {PARENT_TAG: run})
        return record

    def _described(self, folder: TrialFolder, spec: TrialSpec) -> RunRecord:
        parent = self._parent or self.deliver_sweep("RUNNING")
        start = _start_ms(folder)
        tags = {PARENT_TAG: parent, STATE_TAG: TrialState.RUNNING.value, **repeated(spec)}
        record = self._record(folder.run, self._identity(str(spec.number)), run_name(spec), start, tags)
        if record.described:
            return record
        params = {"seed": spec.seed, "epochs": spec.epochs, **flatten(spec.config.model_dump(mode="json"))}
        self._store.log_params(record.run_id, params)
        self._store.log_dataset(record.run_id, self._card.dataset)
        self._store.log_epochs(record.run_id, self._before)  # so that the curve is whole in this run
        return record.model_copy(update={"described": True})

    def _with_epochs(self, folder: TrialFolder, record: RunRecord) -> tuple[RunRecord, list[EpochMetrics]]:
        """Log the epochs of a folder that are new; return how far its run is now, and all its epochs."""
        history = lasting_history(folder.history, record)
        self._store.log_epochs(record.run_id, history[record.epochs :])
        record = record.model_copy(update={"epochs": max(record.epochs, len(history))})  # one may be trained again
        self._write_record(folder.run, record)
        return record, history

    def _deliver_fold(self, fold: TrialFolder, spec: TrialSpec, number: int, above: str, *, running: bool) -> None:
        """Bring the run of one fold up to date, which is below that of its trial."""
        if not fold.spec.exists():
            return
        stage = "" if self._card.stage == "search" else "repetition "
        identity = self._recorded.tags(FOLD_TAG, f"{stage}{spec.number}/{number}")
        start, name = int(fold.spec.stat().st_mtime * 1000), f"{run_name(spec)}-fold-{number}"
        record = self._record(fold.run, identity, name, start, {PARENT_TAG: above})
        if record.status == "FINISHED":
            return
        if not record.described:
            self._store.log_params(record.run_id, {"fold": number, "seed": read_spec(fold.spec).seed})
            record = record.model_copy(update={"described": True})
        ended, (record, history) = fold.outcome.exists(), self._with_epochs(fold, record)  # it may end meanwhile
        if not ended:
            self._set_status(fold.run, record, "RUNNING" if running else "KILLED")
            return
        self._add_pictures(fold, spec, f"{spec.label}, fold {number}", history, read_outcome(fold.outcome))
        record = self._upload(fold, record, [fold.curves, *fold.confusion.glob("*")])
        self._set_status(fold.run, record, "FINISHED")
        self._drop_strays(record.run_id, identity)

    def _update_unfinished(self, folder: TrialFolder, record: RunRecord, running: bool) -> None:
        status = "RUNNING" if running else "KILLED"
        if record.status != status:
            self._store.set_tags(record.run_id, {STATE_TAG: "running" if running else "interrupted"})
            self._set_status(folder.run, record, status)

    def _set_status(self, path: Path, record: RunRecord, status: str) -> None:
        """Set a run's status and note it. A run that may be open is never noted as closed."""
        changed = record.model_copy(update={"status": status})
        if status == "RUNNING":
            self._write_record(path, changed)
        if record.status != status:
            if status == "RUNNING":
                self._store.set_running(record.run_id)
            else:
                self._store.end(record.run_id, status, int(time.time() * 1000))
        self._write_record(path, changed)

    def _drop_strays(self, run: str, identity: dict[str, str]) -> None:
        """Delete runs that a slow server created after we had stopped waiting for its answer."""
        for other in self._store.find_runs(self.experiment, identity):
            if other != run:
                self._store.delete_run(other)

    def _identity(self, trial: str) -> dict[str, str]:
        return self._recorded.tags(TRIAL_TAG if self._card.stage == "search" else REPETITION_TAG, trial)

    def _upload(self, folder: TrialFolder, record: RunRecord, files: Iterable[Path]) -> RunRecord:
        """Upload what has not been; noted once, however far it came: twice is as good as once, and a note is slow."""
        sent = list(record.artifacts)
        try:
            for file in sorted(path for path in files if path.is_file()):
                name = file.relative_to(folder.artifacts).as_posix()
                if name not in sent and not name.endswith(".part"):
                    self._store.log_artifact(record.run_id, file, name.rpartition("/")[0])
                    sent.append(name)
        finally:
            if len(sent) > len(record.artifacts):
                record = record.model_copy(update={"artifacts": tuple(sent)})
                self._write_record(folder.run, record)
        return record

    def _require_arrived(self, folder: TrialFolder, record: RunRecord) -> None:
        """Raise TrackingError unless MLflow has the weights that are removed here next; others are sent again later."""
        lost = lost_weights(self._store, record, folder)
        if lost:
            for path in (folder.run, *(fold.run for _, fold in folder.folds())):
                if (known := read_record(path)) is not None:  # others may be lost with it
                    self._write_record(path, known.model_copy(update={"artifacts": (), "status": "RUNNING"}))
            raise TrackingError(
                f"MLflow at {self._store.shown_uri} accepted {min(lost)} but does not have it, or only a part of it; "
                "perhaps a log-in page answered instead. The trial's files stay here and are sent again"
            )

    def _add_pictures(
        self, folder: TrialFolder, spec: TrialSpec, label: str, history: list[EpochMetrics], outcome: TrialOutcome
    ) -> None:
        from sweeper.tracking.confusion_picture import draw_confusion  # no start of a sweep waits for it

        shown = {"first": history[0].epoch if history else None, "best": outcome.best_epoch, "last": outcome.epochs}
        for numbers in sorted(folder.confusion.glob("*.csv")):
            picture = numbers.with_suffix(".png")
            if not picture.exists():
                confusion, classes = self._read_confusion(numbers)
                title = f"{label}, {numbers.stem} epoch ({shown.get(numbers.stem)}), validation"
                if outcome.averaged_epochs and numbers.name == BEST_CONFUSION:
                    title = f"{label}, {average_of(outcome.averaged_epochs)}, validation"
                if outcome.folds:
                    title = f"{label}, each image by that of {len(outcome.folds)} networks that had not seen it"
                draw_confusion(confusion, classes, title, picture)
        if not outcome.folds:
            curves, marked = [*self._before, *history], outcome.best_epoch
        else:
            curves, marked = mean_history(folder, outcome.epochs), outcome.refit.epochs if outcome.refit else None
        if curves:
            self._curves_of(spec.task.name).draw(curves, marked, folder.curves)

    def _read_confusion(self, numbers: Path) -> tuple[Confusion, list[str]]:
        try:
            return read_confusion(numbers)
        except ValueError as error:
            raise DamagedFile(f"{error}: sweeper doctor {self._card.study} --fix removes it") from error

    def _curves_of(self, task: str) -> CurvesPicture:
        from sweeper.tracking.curves_picture import CurvesPicture

        if task not in self._curves:
            self._curves[task] = CurvesPicture(task)
        return self._curves[task]

    def _close(self, record: RunRecord, outcome: TrialOutcome, *, has_images: bool) -> None:
        best = {f"best/{key}": value for key, value in outcome.best_metrics.items()}
        if outcome.spread is not None:
            best["best/spread"] = outcome.spread
        if outcome.soup is not None:
            best |= {"best/averaged_epochs": float(len(outcome.soup.epochs))}
            best |= {"best/single_epoch_value": outcome.soup.best_epoch_value}
        if outcome.best_epoch is not None:
            best["best/fold" if outcome.folds else "best/epoch"] = float(outcome.best_epoch)
            self._store.log_metrics(record.run_id, best, outcome.best_epoch, outcome.timestamp_ms)
        costs = {f"cost/{name}": value for name, value in outcome.costs.items()}
        if costs:
            costs["cost/train_seconds"] = outcome.seconds
            self._store.log_metrics(record.run_id, costs, outcome.epochs, outcome.timestamp_ms)
        trained_on = f"{outcome.device}, {outcome.precision}{', compiled' if outcome.compiled else ''}"
        tags = {STATE_TAG: outcome.state.value, DEVICE_TAG: trained_on}
        if outcome.state is TrialState.PRUNED and outcome.feasible:
            tags[PRUNED_TAG] = str(outcome.epochs)
        if outcome.threads is not None:
            tags[THREADS_TAG] = str(outcome.threads)
        if outcome.soup is not None:
            tags[AVERAGED_TAG] = ", ".join(map(str, outcome.soup.epochs))
        if outcome.reason:
            tags[REASON_TAG] = outcome.reason
        if has_images:
            tags[IMAGES_TAG] = "True"
        tags[NOTE_TAG] = "\n\n".join(filter(None, (note(outcome), self._card.tags.get(NOTE_TAG))))
        self._store.set_tags(record.run_id, tags)
        self._store.end(record.run_id, STATUS[outcome.state], outcome.timestamp_ms)

    def _remove(self, folder: TrialFolder) -> None:
        """Remove a folder that has arrived, at once under its own name."""
        self._require_ours()
        shutil.rmtree(folder.delivered, ignore_errors=True)
        folder.path.rename(folder.delivered)
        shutil.rmtree(folder.delivered)

    def _write_record(self, path: Path, record: RunRecord) -> None:
        self._require_ours()
        write_sealed(path, record.model_dump_json())

    def _require_ours(self) -> None:
        if self._given_up.is_set():
            raise TrackingError("this delivery was given up; another may have taken its place")


def _start_ms(folder: TrialFolder) -> int:
    """Return when a trial began; where its files were made anew since, or copied, as long before its end as it took."""
    made_ms = int(folder.spec.stat().st_mtime * 1000)
    if not folder.outcome.exists():
        return made_ms
    outcome = read_outcome(folder.outcome)
    return min(made_ms, int(outcome.timestamp_ms - outcome.seconds * 1000))


def _add_config(folder: TrialFolder, spec: TrialSpec) -> None:
    """Put the configuration among the artifacts, as the `search` section of a search space."""
    content = {"search": spec.config.model_dump(mode="json")}
    write_whole(folder.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

"""Optuna's trials beside MLflow's runs: what is missing, there twice, left open, or has lost its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from sweeper.addresses import local_path
from sweeper.errors import StudyError, TrackingError, TrackingRefused
from sweeper.files import write_sealed
from sweeper.identity import Identity
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import SIMULATED, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.quantity import quantity
from sweeper.search.samplers import trial_seed
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, tracking_uri_of
from sweeper.study.ending import status_at_rest
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.relocation import old_places, relocate
from sweeper.tracking.run_listing import ListedRun
from sweeper.tracking.study_records import StudyRecords
from sweeper.tracking.tags import ID_TAG, REPETITION_TAG, STATE_TAG, STATUS, STUDY_TAG, SWEEP, TRIAL_TAG, WEIGHTS_TAG
from sweeper.upkeep.finding import Finding
from sweeper.upkeep.sync import confirmation_status, ended_repetitions, sync_confirmation

SUBJECT = "MLflow"
LISTED = (ID_TAG, STUDY_TAG, TRIAL_TAG, REPETITION_TAG, WEIGHTS_TAG)


def examine_runs(
    workspace: Workspace, store: StudyStore, tracking_uri: str | None, identity: Identity
) -> Iterator[Finding]:
    """Yield where a study's trials and its runs disagree; `identity` is what the study is in this folder."""
    study = store.sweep.study
    stored = read_card(workspace.study(study))
    if stored is None:
        yield Finding(SUBJECT, "the study was not run in this folder; its runs were not looked at")
        return
    card = stored.model_copy(update={"identity": identity})
    try:
        mlflow = MlflowStore(tracking_uri_of(workspace, study, tracking_uri), workspace, relocates=False)
        elsewhere = old_places(workspace.mlflow_database) if mlflow.is_ours else []
        records = StudyRecords(mlflow, card.recorded(workspace.study(study)))
        records.examine()
        check = _Check(workspace, store, card, mlflow, records.listing(*LISTED))
    except TrackingRefused as error:
        yield Finding(SUBJECT, str(error), f"do what it says, then sweeper sync {study}")
        return
    except TrackingError as error:
        yield Finding(SUBJECT, str(error), "start the server or name another with --tracking-uri")
        return
    for place in elsewhere:
        what = f"the files of runs are looked for in {place}, from where this folder was moved or copied"
        yield Finding(
            SUBJECT,
            what,
            "--fix lets them be looked for here, and so does every command that needs them",
            partial(relocate, workspace.mlflow_database),
        )
    yield from check.missing()
    yield from check.twice()
    yield from check.left_open()
    if not elsewhere:
        yield from check.without_files()


@dataclass(frozen=True)
class _Check:
    """A study, and the runs of its experiment."""

    workspace: Workspace
    store: StudyStore
    card: StudyCard
    mlflow: MlflowStore
    runs: Sequence[ListedRun]

    @property
    def folder(self) -> StudyFolder:
        return self.workspace.study(self.store.sweep.study)

    @cached_property
    def rows(self) -> dict[int, TrialRow]:
        return {row.number: row for row in self.store.rows()}

    @cached_property
    def own(self) -> list[ListedRun]:
        """The runs of this study: those that bear its id, or its name alone where it had no id when they were made."""
        identity, study = self.card.identity, self.store.sweep.study
        marked = [run for run in self.runs if identity is not None and run.tags.get(ID_TAG) == identity.id]
        if marked or not (identity is None or identity.adopted):
            return marked
        return [run for run in self.runs if ID_TAG not in run.tags and run.tags.get(STUDY_TAG) == study]

    def missing(self) -> Iterator[Finding]:
        """Find ended trials whose run is missing or incomplete, the parent run, and what a confirmation has left."""
        recorded = {run.tags.get(TRIAL_TAG) for run in self.own}
        if SWEEP not in recorded:
            yield Finding(SUBJECT, "the study has no parent run", "--fix makes it", self._deliver_sweep)
        for row in self.rows.values():
            if row.ended_ms is None:
                continue
            deliver = partial(self._deliver, row)
            if self.folder.trial(row.number).path.is_dir():
                what = f"trial {row.number} has not been delivered completely"
                yield Finding(SUBJECT, what, "--fix or `sweeper sync` delivers it", deliver)
            elif str(row.number) not in recorded:
                what = f"trial {row.number} has no run"
                yield Finding(
                    SUBJECT, what, "--fix makes one of what Optuna knows, without curves and weights", deliver
                )
        waiting = ended_repetitions(self.folder.confirmation)
        if waiting:
            what = quantity(len(waiting), "repetition of the confirmation has", "repetitions of the confirmation have")
            deliver = partial(sync_confirmation, self.mlflow, self.folder.confirmation)
            yield Finding(
                SUBJECT, f"{what} not been delivered completely", "--fix or `sweeper sync` delivers it", deliver
            )

    def _deliver(self, row: TrialRow) -> None:
        """Deliver a trial's folder; what is lacking in it comes from Optuna."""
        trial = self.folder.trial(row.number)
        _complete(trial, row, self.store)
        outcome = row.outcome
        had_weights = outcome is not None and outcome.has_weights and outcome.device != SIMULATED
        lost = had_weights and not trial.weights.is_dir()
        run = self._delivery().deliver_trial(trial, ended=True, running=False)
        if run is not None and lost:
            self.mlflow.set_tags(run, {WEIGHTS_TAG: "lost"})
        self._deliver_sweep()

    def _deliver_sweep(self) -> None:
        self._delivery().deliver_sweep(self._status)

    @property
    def _status(self) -> str:
        """How the parent run is to be closed."""
        return status_at_rest(self.folder, whole=not self.store.remaining())

    def _delivery(self) -> Delivery:
        return Delivery(MlflowStore(self.mlflow.uri, self.workspace), self.folder, self.card)

    @cached_property
    def strays(self) -> list[ListedRun]:
        """The runs of a trial that has a better one: it has ended, or is the older one."""
        best: dict[str, ListedRun] = {}
        for run in sorted(self.own, key=lambda run: run.status == "RUNNING"):
            best.setdefault(run.tags.get(TRIAL_TAG, ""), run)
        return [run for run in self.own if TRIAL_TAG in run.tags and run is not best[run.tags[TRIAL_TAG]]]

    def twice(self) -> Iterator[Finding]:
        """Find runs of a trial that has another one."""
        for run in self.strays:
            what = f"the run {run.name} is there twice"
            remedy = "--fix deletes the one that has not ended, or the later one"
            yield Finding(SUBJECT, what, remedy, partial(self.mlflow.delete_run, run.id))

    def left_open(self) -> Iterator[Finding]:
        """Find runs that are marked as running, by a driver that died or, in a database of ours, by another tool."""
        for run in (run for run in self.runs if run.status == "RUNNING"):
            ours = run in self.own or (self.mlflow.is_ours and ID_TAG not in run.tags)
            if ours and run not in self.strays:
                what = f"{run.name} is marked as running"
                yield Finding(SUBJECT, what, "--fix closes it", self._closing(run))

    def _closing(self, run: ListedRun) -> Callable[[], None]:
        """Return what closes a run: as its trial ended, else as interrupted."""
        trial = run.tags.get(TRIAL_TAG, "") if run in self.own else ""
        row = self.rows.get(int(trial)) if trial.isdigit() else None
        ended = row.state if row is not None and row.state in STATUS else None
        repetition = run.tags.get(REPETITION_TAG, "") if run in self.own else ""

        def close() -> None:
            if trial == SWEEP:
                status = self._status
            elif repetition == SWEEP:
                status = confirmation_status(self.folder.confirmation)
            else:
                status = STATUS[ended] if ended else "KILLED"
                self.mlflow.set_tags(run.id, {STATE_TAG: ended.value if ended else "interrupted"})
            self.mlflow.end(run.id, status, self.mlflow.last_ms(run.id))

        return close

    def without_files(self) -> Iterator[Finding]:
        """Find finished trials whose run says that its weights lie on this machine, where they do not."""
        first = {run.tags.get(TRIAL_TAG, ""): run for run in reversed(self.own) if run not in self.strays}
        for trial, run in reversed(first.items()):
            files = local_path(run.artifacts)
            row = self.rows.get(int(trial)) if trial.isdigit() else None
            if row is None or files is None or row.state is not TrialState.COMPLETE or row.best_epoch is None:
                continue
            if self.folder.trial(row.number).path.exists():  # they wait here, which is told
                continue
            outcome = row.outcome
            none = WEIGHTS_TAG in run.tags or outcome is None or not outcome.has_weights or outcome.device == SIMULATED
            weights = none or any((files / "weights").glob("*"))
            if not weights or not files.exists():
                what, where = ("weights", files / "weights") if files.exists() else ("files", files)
                what = f"the {what} of trial {trial} are not in {where}, where its run says that they are"
                yield Finding(SUBJECT, what, "bring them back there; without its weights it can only be trained again")


def _complete(trial: TrialFolder, row: TrialRow, store: StudyStore) -> None:
    if row.config is None or row.outcome is None:
        raise StudyError(f"Optuna has no parameters or no outcome of trial {row.number}")
    sweep = store.sweep
    seed = trial_seed(sweep.seed, row.number)
    spec = TrialSpec(number=row.number, seed=seed, epochs=sweep.budget.epochs, config=row.config, task=sweep.task)
    content = {trial.spec: spec.model_dump_json(), trial.outcome: row.outcome.model_dump_json(), trial.history: "[]"}
    for path, text in content.items():
        if not path.exists():
            write_sealed(path, text)

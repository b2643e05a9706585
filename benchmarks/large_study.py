"""A finished study of thousands of trials, written in seconds: what a driver and its workers leave of it.

    python -m benchmarks.large_study FOLDER [--trials 20000] [--epochs 10]

The storage holds what the driver writes of each trial. MLflow holds a run of each with all its metrics,
parameters, tags and files: one trial is delivered as always, and its rows and files are copied under the other
numbers. So the runs differ in name, numbers and values only; the files are links to those of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from sweeper.config.sweep import SweepConfig
from sweeper.files import write_whole
from sweeper.identity import Identity
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.scores.confusion import write_confusion
from sweeper.scores.predictions import Predictions, image_ids, write_predictions
from sweeper.search.bulk_adding import add_trials
from sweeper.search.stored_trial import CONFIG, DECISION, ENDINGS, OUTCOME, PRUNED_AT
from sweeper.search.study_store import StudyStore
from sweeper.search.suggest import suggest
from sweeper.study.claim import claim_study, settle, take_storage
from sweeper.study.lock import study_lock
from sweeper.study.summary import write_summary
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore

STUDY = "large"
CLASSES = tuple(f"class {number}" for number in range(10))
VAL_IMAGES = 500
BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)
SECONDS_EACH = 60
AT_ONCE = 1000  # trials whose rows are inserted together
EVERY_THIRD, EVERY_50TH = 3, 50  # trials that were pruned, that failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    write_large_study(Workspace(options.folder.resolve()), options.trials, options.epochs)
    print(f"{options.trials:,} trials of at most {options.epochs} epochs in {time.perf_counter() - started:.1f} s")


def write_large_study(workspace: Workspace, trials: int, epochs: int = 10, *, runs: bool = True) -> StudyStore:
    """Write a study and, with `runs`, an MLflow run of each of its trials; return the study, opened to be read."""
    sweep = large_sweep(trials, epochs)
    url = f"sqlite:///{workspace.optuna_database}"
    with study_lock(workspace.study(sweep.study), sweep.study):
        claim = claim_study(workspace, url, sweep.study)
        settle(claim, workspace)
        begun = StudyStore.create_or_load(url, sweep)
        take_storage(claim, begun)
        begun.close()
    _insert_trials(url, sweep, trials)
    store = StudyStore.load(url, sweep.study)
    if runs:
        _write_runs(workspace, store, claim.identity)
    return store


def large_sweep(trials: int, epochs: int, **changes: Any) -> SweepConfig:
    """Return a search space of seven parameters, four of them in every trial."""
    content: dict[str, Any] = {
        "study": STUDY,
        "dataset": {"builtin": "digits"},
        "budget": {"trials": trials, "epochs": epochs},
        "pruner": "median",
        "search": {
            "backbone": {"choice": ["small_resnet", "resnet18", "resnet34"]},
            "image_size": 32,
            "batch_size": {"choice": [64, 128, 256]},
            "optimizer": {
                "choice": [
                    {"name": "adamw", "lr": {"float": [1e-4, 1e-2], "log": True}},
                    {"name": "sgd", "lr": {"float": [1e-3, 1e-1], "log": True}, "momentum": {"float": [0.8, 0.95]}},
                ]
            },
            "weight_decay": {"float": [1e-6, 1e-2], "log": True},
        },
    }
    return SweepConfig.model_validate({**content, **changes})


class _Drawing:
    """Answers suggestions at random and keeps what was asked."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, optuna.distributions.BaseDistribution] = {}

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        share = self._random.random()
        value = low * (high / low) ** share if log else low + share * (high - low)
        return self._keep(name, float(value), optuna.distributions.FloatDistribution(low, high, log=log, step=step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        kind = optuna.distributions.IntDistribution(low, high, log=log, step=step)
        return self._keep(name, int(self._random.integers(low, high + 1)), kind)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        kind = optuna.distributions.CategoricalDistribution(choices)
        return self._keep(name, choices[int(self._random.integers(len(choices)))], kind)

    def _keep(self, name: str, value: Any, kind: optuna.distributions.BaseDistribution) -> Any:
        self.params[name], self.distributions[name] = value, kind
        return value


def state_of(number: int) -> TrialState:
    """Return how a trial of the study ended."""
    if number % EVERY_50TH == EVERY_50TH - 1:
        return TrialState.FAILED
    return TrialState.PRUNED if number % EVERY_THIRD == EVERY_THIRD - 1 else TrialState.COMPLETE


def _curve(random: np.random.Generator, epochs: int) -> list[float]:
    limit, pace = 0.4 + 0.55 * random.random(), 1 + 3 * random.random()
    noise = random.normal(0, 0.005, epochs)
    return [float(limit * (1 - np.exp(-epoch / pace)) + noise[epoch - 1]) for epoch in range(1, epochs + 1)]


def _insert_trials(url: str, sweep: SweepConfig, trials: int) -> None:
    """Store what a driver has stored of each trial at its end."""
    storage = optuna.storages.RDBStorage(url)
    study = storage.get_study_id_from_name(sweep.study)
    random = np.random.default_rng(0)
    for start in range(0, trials, AT_ONCE):
        add_trials(
            storage, study, [_trial(random, sweep, number) for number in range(start, min(start + AT_ONCE, trials))]
        )
    storage.engine.dispose()


def _trial(random: np.random.Generator, sweep: SweepConfig, number: int) -> FrozenTrial:
    state, drawing = state_of(number), _Drawing(random)
    config = suggest(sweep.search, drawing)
    epochs = sweep.budget.epochs if state is TrialState.COMPLETE else 1 + int(random.integers(sweep.budget.epochs - 1))
    curve = _curve(random, epochs)
    outcome = _outcome(state, curve, number)
    attributes: dict[str, Any] = {CONFIG: config.model_dump_json(), OUTCOME: outcome.model_dump_json()}
    if state is TrialState.PRUNED:
        attributes |= {DECISION: {"epoch": epochs, "prune": True, "rungs": {}}, PRUNED_AT: epochs}
    began = datetime.fromtimestamp(BEGAN.timestamp() + SECONDS_EACH * number)
    return FrozenTrial(
        number=number,
        state=ENDINGS[state],
        value={TrialState.COMPLETE: outcome.best_value, TrialState.PRUNED: curve[-1]}.get(state),
        datetime_start=began,
        datetime_complete=began + timedelta(seconds=outcome.seconds),
        params=drawing.params,
        distributions=drawing.distributions,
        user_attrs=attributes,
        system_attrs={"tpe:relative_params:0": json.dumps(drawing.params)},
        intermediate_values=dict(enumerate(curve, 1)),
        trial_id=number,
    )


def _outcome(state: TrialState, curve: list[float], number: int) -> TrialOutcome:
    seconds = 5.0 * len(curve)
    ended = int((BEGAN.timestamp() + SECONDS_EACH * number + seconds) * 1000)
    told = {"epochs": len(curve), "seconds": seconds, "timestamp_ms": ended, "threads": 1}
    if state is TrialState.FAILED:
        return TrialOutcome(state=state, reason=f"train/loss is not finite: nan in step {number}", **told)
    best = int(np.argmax(curve))
    metrics = _metrics(curve[best], best + 1)
    reason = f"pruned after epoch {len(curve)}" if state is TrialState.PRUNED else None
    return TrialOutcome(
        state=state,
        best_epoch=best + 1,
        best_value=curve[best],
        best_metrics=metrics,
        reason=reason,
        costs={"parameters": 1e6 + number},
        **told,
    )


def _metrics(accuracy: float, epoch: int) -> dict[str, float]:
    """Return what a worker reports of an epoch."""
    scores = {f"val/{name}": accuracy for name in ("accuracy", "top5_accuracy", "precision", "recall", "f1")}
    losses = {"train/loss": 2 / epoch, "train/accuracy": accuracy, "val/loss": 2.2 / epoch}
    costs = {"lr": 1e-3, "time/epoch_s": 5.0, "images_per_s": 400.0, "memory/peak_mb": 512.0}
    return {**losses, **scores, **costs}


def _write_runs(workspace: Workspace, store: StudyStore, identity: Identity) -> None:
    """Deliver the parent run and the first trial, and copy the latter under the numbers of all others."""
    uri = f"sqlite:///{workspace.mlflow_database}"
    folder = workspace.study(store.sweep.study)
    rows = store.rows()
    card = StudyCard(
        study=store.sweep.study,
        identity=identity,
        tracking_uri=uri,
        start_ms=int(BEGAN.timestamp() * 1000) - 1,
        params={"seed": 0},
        tags={"sweeper.dataset_digest": "abc", "sweeper.environment": "a machine"},
        dataset={
            "name": "digits",
            "digest": "abc",
            "source": "digits",
            "profile": {"images": {"train": 1297, "val": VAL_IMAGES}, "classes": len(CLASSES)},
        },
    )
    write_whole(folder.card, card.model_dump_json())
    delivery = Delivery(MlflowStore(uri, workspace), folder, card)
    write_summary(folder, store.sweep.model_copy(update={"study": STUDY}), rows[:1])
    delivery.deliver_sweep("FINISHED")
    first = folder.trial(0)
    _write_folder(first, store, rows[0].outcome)
    run = delivery.deliver_trial(first, ended=True, running=False)
    if run is None:
        raise RuntimeError("the first trial could not be delivered")
    copy_run(workspace, run, len(rows))
    _tell_values(workspace, store.sweep.objective.metric, rows)


def _write_folder(folder: TrialFolder, store: StudyStore, outcome: TrialOutcome | None) -> None:
    """Write what a worker leaves of a trial."""
    row = store.rows()[folder.number]
    if row.config is None or outcome is None or outcome.best_epoch is None:
        raise ValueError(f"trial {folder.number} was not finished")
    spec = TrialSpec(number=row.number, seed=0, epochs=store.sweep.budget.epochs, config=row.config)
    write_whole(folder.spec, spec.model_dump_json())
    curve = store.curves([row.number])[row.number]
    history = [
        EpochMetrics(epoch=epoch, values=_metrics(value, epoch), timestamp_ms=epoch) for epoch, value in curve.items()
    ]
    write_whole(folder.history, json.dumps([epoch.model_dump() for epoch in history]))
    write_whole(folder.outcome, outcome.model_dump_json())
    write_whole(folder.weights_of(outcome.best_epoch), b"weights" * 100)
    told = drawn_predictions()
    write_predictions(folder.predictions_of(outcome.best_epoch), told)
    for name in ("first", "best", "last"):
        write_confusion(folder.confusion / f"{name}.csv", told.confusion(len(CLASSES)), list(CLASSES))


def drawn_predictions() -> Predictions:
    """Return predictions of the validation images, most of them right."""
    random = np.random.default_rng(0)
    labels = np.arange(VAL_IMAGES) % len(CLASSES)
    first = np.where(random.random(VAL_IMAGES) < 0.8, labels, (labels + 1) % len(CLASSES))
    order = (first[:, None] + np.arange(5)) % len(CLASSES)
    shares = np.sort(random.dirichlet(np.full(5, 0.3), VAL_IMAGES), axis=1)[:, ::-1].astype(np.float32)
    true = np.where(order == labels[:, None], shares, 0).sum(1).astype(np.float32)
    return Predictions(image_ids([f"{number}.png" for number in range(VAL_IMAGES)]), labels, order, shares, true)


COPIES = {
    "runs": {"run_uuid": "printf('%032x', n.number)", "name": "printf('trial-%04d', n.number)"},
    "tags": {"run_uuid": "printf('%032x', n.number)"},
    "params": {"run_uuid": "printf('%032x', n.number)"},
    "metrics": {"run_uuid": "printf('%032x', n.number)", "value": "t.value * (0.5 + (n.number * 7919 % 997) / 1994.0)"},
    "latest_metrics": {
        "run_uuid": "printf('%032x', n.number)",
        "value": "t.value * (0.5 + (n.number * 7919 % 997) / 1994.0)",
    },
    "inputs": {"input_uuid": "printf('%032x', n.number)", "destination_id": "printf('%032x', n.number)"},
}


def copy_run(workspace: Workspace, run: str, trials: int) -> None:
    """Copy the run of trial 0, in MLflow's own SQLite database, under the numbers of all other trials."""
    database = sqlite3.connect(workspace.mlflow_database)
    with database:
        database.execute("CREATE TEMP TABLE numbers (number INTEGER)")
        database.executemany("INSERT INTO numbers VALUES (?)", ((number,) for number in range(1, trials)))
        for table, changed in COPIES.items():
            names = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(changed.get(name, f"t.{name}") for name in names)
            key = "destination_id" if table == "inputs" else "run_uuid"
            copied = f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} t, numbers n "  # noqa: S608
            database.execute(f"{copied} WHERE t.{key} = ? ORDER BY n.number", (run,))
        own = "run_uuid != ? AND run_uuid IN (SELECT printf('%032x', number) FROM numbers)"
        number = "(SELECT number FROM numbers WHERE printf('%032x', number) = run_uuid)"
        database.execute("CREATE TEMP TABLE named AS SELECT printf('%032x', number) AS run, number FROM numbers")
        database.execute("CREATE INDEX temp.by_run ON named (run)")
        number = "(SELECT number FROM named WHERE run = run_uuid)"
        database.execute(
            f"UPDATE tags SET value = {number} WHERE key = 'sweeper.trial' AND {own}",  # noqa: S608
            (run,),
        )
        database.execute(
            f"UPDATE runs SET artifact_uri = replace(artifact_uri, ?, run_uuid), "  # noqa: S608
            f"start_time = start_time + {number} * {SECONDS_EACH * 1000} WHERE {own}",
            (run, run),
        )
        address = database.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run,)).fetchone()[0]
    database.close()
    _link_files(Path(address.removeprefix("file://")), run, trials)


def _tell_values(workspace: Workspace, metric: str, rows: list[TrialRow]) -> None:
    """Let each run tell of its own trial what the storage does: the best value, by which runs are ordered."""
    values = [(row.value, f"best/{metric}", f"{row.number:032x}") for row in rows if row.value is not None]
    without = [(f"best/{metric}", f"{row.number:032x}") for row in rows if row.value is None]
    database = sqlite3.connect(workspace.mlflow_database)
    with database:
        database.executemany("UPDATE latest_metrics SET value = ? WHERE key = ? AND run_uuid = ?", values)
        database.executemany("DELETE FROM latest_metrics WHERE key = ? AND run_uuid = ?", without)
    database.close()


def _link_files(artifacts: Path, run: str, trials: int) -> None:
    files = [path for path in artifacts.rglob("*") if path.is_file()]
    for number in range(1, trials):
        folder = Path(str(artifacts).replace(run, f"{number:032x}"))
        for file in files:
            target = folder / file.relative_to(artifacts)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)


if __name__ == "__main__":
    main()

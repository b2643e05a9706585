"""Write down the learning curves of a finished study, for benchmarks.pruning to replay.

    sweeper run benchmarks/curves/digits.yaml
    python -m benchmarks.record_curves digits-curves benchmarks/curves/digits.json

The study has to have trained its trials to their end (`pruner: none`). Run it where the study was run:
trials come from Optuna's database there, curves from MLflow's. The file holds, for each completed
trial, its parameters and, for each epoch, the objective and the learning rate of that epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from sweeper.paths import Workspace
from sweeper.results import TrialState
from sweeper.search.study_store import StudyStore
from sweeper.tracking.mlflow_store import default_tracking_uri

DIGITS = 6  # significant ones that are kept


def main() -> None:
    options = arguments()
    workspace = Workspace(Path.cwd())
    store = StudyStore.load(f"sqlite:///{workspace.optuna_database}", options.study)
    if store.sweep.pruner.name != "none":
        sys.exit(
            f"the study {options.study} was run with the pruner {store.sweep.pruner.name}; its curves are cut short"
        )
    curves = recorded(store, MlflowClient(default_tracking_uri(workspace)))
    options.curves.write_text(as_text(curves))
    print(f"{len(curves['trials'])} curves of {options.study} in {options.curves}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("curves", type=Path)
    return parser.parse_args()


def recorded(store: StudyStore, client: MlflowClient) -> dict[str, Any]:
    """Return what the file holds: how the trials came about, and a record for each that ended by itself."""
    sweep = store.sweep
    experiment = client.get_experiment_by_name(sweep.study)
    if experiment is None:
        raise SystemExit(f"MLflow has no experiment {sweep.study}")
    runs = client.search_runs([experiment.experiment_id], max_results=10_000)
    ids = {run.info.run_name: run.info.run_id for run in runs}
    trials = []
    for row in store.rows():
        if row.state is not TrialState.COMPLETE:
            continue
        run = ids[f"trial-{row.number:04d}"]
        values, rates = (series(client, run, key) for key in (sweep.objective.metric, "lr"))
        trials.append({"number": row.number, "params": rounded(row.params), "values": values, "rates": rates})
    return {
        "study": sweep.study,
        "metric": sweep.objective.metric,
        "direction": sweep.objective.direction,
        "epochs": sweep.budget.epochs,
        "torch": torch.__version__,
        "trials": trials,
    }


def series(client: MlflowClient, run: str, key: str) -> list[float]:
    """Return one value for each epoch, in their order."""
    points = {point.step: point.value for point in client.get_metric_history(run, key)}
    return [significant(points[step]) for step in sorted(points)]


def rounded(params: dict[str, Any]) -> dict[str, Any]:
    return {name: significant(value) if isinstance(value, float) else value for name, value in params.items()}


def significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def as_text(curves: dict[str, Any]) -> str:
    """Return JSON with a line for each trial."""
    head = {key: value for key, value in curves.items() if key != "trials"}
    trials = ",\n".join(json.dumps(trial, separators=(",", ":")) for trial in curves["trials"])
    return json.dumps(head)[:-1] + f', "trials": [\n{trials}\n]}}\n'


if __name__ == "__main__":
    main()

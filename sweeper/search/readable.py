"""What other programs that read Optuna's storage show in words, such as optuna-dashboard."""

from __future__ import annotations

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning

from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome
from sweeper.search.suggest import keys_of

BEST_EPOCH, REASON, MLFLOW_RUN, MLFLOW_ID = "best epoch", "ended because", "MLflow run", "MLflow run id"


def name_metrics(study: optuna.Study, sweep: SweepConfig) -> None:
    """Call the values of a study's trials what they are."""
    names: list[str] = [goal.metric for goal in sweep.goals]
    if study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(names)


def note(trial: optuna.Trial, sweep: SweepConfig, outcome: TrialOutcome, run: str | None) -> None:
    """Let a trial say which epoch was its best, why it ended early, and which run in MLflow is its own.

    Parameters inside a choice have their names in MLflow beside those here: `optimizer.lr` beside `optimizer.adamw.lr`,
    so that trials with other options can be compared by them. The id of the run is known only if it is there yet.

    Delivery is in the background, and Optuna takes no attribute of a trial that has ended.
    """
    trial.set_user_attr(MLFLOW_RUN, f"trial-{trial.number:04d}")
    for name, key in keys_of(sweep.search, trial.params).items():
        if name != key:
            trial.set_user_attr(key, trial.params[name])
    if outcome.best_epoch is not None:
        trial.set_user_attr(BEST_EPOCH, outcome.best_epoch)
    if outcome.reason is not None:
        trial.set_user_attr(REASON, outcome.reason)
    if run is not None:
        trial.set_user_attr(MLFLOW_ID, run)

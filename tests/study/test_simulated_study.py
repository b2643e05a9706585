"""A study whose trials are simulated: recorded like any other, and never taken for one that was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from sweeper.config.pruner import PromoteConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.starting import clock_of, start_engine
from sweeper.errors import StudyChanged, StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.opening import Opening
from sweeper.study.result import SweepResult
from sweeper.study.run import run_sweep
from sweeper.study.trained import is_simulated, require_trained
from sweeper.tracking.mlflow_store import default_tracking_uri
from sweeper.tracking.tags import DEVICE_TAG, SIMULATED_TAG
from tests.functional.program import sweeper
from tests.study.test_driver import Silent

pytestmark = pytest.mark.sweeps


class Listening(Silent):
    facts: dict[str, str]
    retried: list[int]

    def opening(self, opening: Opening) -> None:
        self.facts = dict(opening.facts)

    def retrying(self, numbers: list[int]) -> None:
        self.retried = numbers


def sweep_of(engine: Any, trials: int = 6) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"path": "nowhere"},
        "budget": {"trials": trials, "epochs": 3},
        "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
        "engine": engine,
    }
    return SweepConfig.model_validate(content)


def run(
    workspace: Workspace,
    sweep: SweepConfig,
    observer: Silent | None = None,
    *,
    workers: str = "2",
    clock: VirtualClock | None = None,
    **options: Any,
) -> SweepResult:
    """Run a simulated study; `options` as of `run_sweep`."""
    clock = clock or clock_of(sweep)
    return run_sweep(
        sweep,
        workspace=workspace,
        storage_url=f"sqlite:///{workspace.optuna_database}",
        tracking_uri=default_tracking_uri(workspace),
        engine=lambda: start_engine(sweep, workspace, workers, clock=clock),
        observer=observer or Silent(),
        clock=clock,
        **options,
    )


def test_a_simulated_study_is_recorded_like_any_other_and_marked_everywhere(workspace: Workspace) -> None:
    watching = Listening()
    result = run(workspace, sweep_of({"name": "simulate", "faults": {"killed": 0.1}}), watching)
    assert {row.state for row in result.rows} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert result.undelivered == 0
    assert "nothing is trained" in watching.facts["simulated"]
    client = mlflow.MlflowClient(default_tracking_uri(workspace))
    runs = client.search_runs([str(result.experiment)])
    assert len(runs) == 1 + 6
    assert all("nothing was trained" in run.data.tags[SIMULATED_TAG] for run in runs)
    trials = [run for run in runs if run.info.run_name.startswith("trial")]
    assert {run.data.tags[DEVICE_TAG] for run in trials} == {"simulated, float32"}
    points = client.get_metric_history(trials[0].info.run_id, "val/accuracy")
    assert [point.step for point in points] == list(range(1, len(points) + 1))


def test_the_start_says_which_pruner_a_study_has_that_names_none(workspace: Workspace) -> None:
    watching = Listening()
    content = sweep_of({"name": "simulate"}).model_dump(mode="json", by_alias=True, exclude={"pruner"})
    unnamed = SweepConfig.model_validate({**content, "budget": {"trials": 12, "epochs": 20}})
    result = run(workspace, unnamed, watching)
    assert "promote, since none is named: trials pause after epoch 2, then the best 30%" in watching.facts["pruner"]
    assert {row.epochs for row in result.rows if row.state is TrialState.PRUNED} == {2}
    begun = SweepConfig.model_validate({**content, "study": "t", "pruner": "hyperband"})
    run(workspace, begun, watching)
    assert "pruner" not in watching.facts
    more = SweepConfig.model_validate({**content, "study": "t", "budget": {"trials": 12, "epochs": 3}})
    assert len(run(workspace, more, watching).rows) == 12
    assert watching.facts["pruner"] == "hyperband, with which the study began"


def test_failed_trials_are_trained_again_on_request_once_each(workspace: Workspace) -> None:
    first = run(workspace, sweep_of({"name": "simulate", "faults": {"failed": 0.2}}, trials=12))
    failed = [row.number for row in first.rows if row.state is TrialState.FAILED]
    assert failed
    healthy = sweep_of({"name": "simulate"}, trials=12)
    watching = Listening()
    again = run(workspace, healthy, watching, retry_failed=True)
    assert watching.retried == failed
    assert [row.number for row in again.rows] == list(range(12 + len(failed)))
    for number, row in zip(failed, again.rows[12:], strict=True):
        assert row.config == again.rows[number].config
        assert row.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert run(workspace, healthy, watching, retry_failed=True).rows == again.rows
    assert watching.retried == []


def test_the_message_after_failures_names_a_command_that_trains_them_again(tmp_path: Path) -> None:
    space = {"study": "s", "dataset": {"path": "nowhere"}, "budget": {"trials": 12, "epochs": 3}}
    space |= {"search": {"backbone": "resnet10t", "weight_decay": {"float": [0, 1]}}}
    failing = {**space, "engine": {"name": "simulate", "faults": {"failed": 0.2}}}
    (tmp_path / "space.yaml").write_text(json.dumps(failing))
    first = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "`sweeper run` with the same search space and --retry-failed" in first.stdout
    (tmp_path / "space.yaml").write_text(json.dumps({**space, "engine": "simulate"}))
    again = sweeper("run", "space.yaml", "--no-report", "--retry-failed", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    counted = json.loads(sweeper("status", "s", "--json", folder=tmp_path).stdout)
    states = [trial["state"] for trial in counted["trials"]]
    assert len(states) == 12 + states.count("failed") > 12


def test_two_runs_of_a_simulation_give_the_same_trials(workspace: Workspace, tmp_path_factory, created) -> None:
    sweep = sweep_of({"name": "simulate", "seed": 7, "faults": {"killed": 0.2, "machine_lost": 0.1}}, trials=15)
    other = Workspace(tmp_path_factory.mktemp("other"))
    (other.root / created.name).write_bytes(created.read_bytes())
    assert table(run(workspace, sweep)) == table(run(other, sweep))


def table(result: SweepResult) -> list[Any]:
    return [(row.params, row.value, row.state, row.seconds) for row in result.rows]


def test_simulated_trials_do_not_mix_with_trained_ones(workspace: Workspace) -> None:
    run(workspace, sweep_of("simulate"))
    with pytest.raises(StudyChanged, match="were simulated"):
        run(workspace, sweep_of("local", trials=8))


def test_what_needs_weights_is_refused_for_a_simulated_study(workspace: Workspace) -> None:
    run(workspace, sweep_of("simulate"))
    store = StudyStore.load(f"sqlite:///{workspace.optuna_database}", "s")
    assert is_simulated(store)
    with pytest.raises(StudyError, match="nothing was trained and there are no weights"):
        require_trained(store)


def test_the_budget_of_a_simulation_is_in_virtual_time(workspace: Workspace) -> None:
    sweep = sweep_of({"name": "simulate", "epoch": "1h"}, trials=1000)
    hours = sweep.model_copy(update={"budget": sweep.budget.model_copy(update={"timeout": 10 * 3600.0})})
    result = run(workspace, hours)
    assert "36000 s is used up" in str(result.stopped_because)
    assert 2 <= len(result.rows) <= 40


@pytest.mark.parametrize("rungs", [[1], [1, 3]])
def test_where_the_time_ends_a_study_of_pauses_the_best_paused_trial_goes_on_to_its_end(
    workspace: Workspace, rungs: list[int]
) -> None:
    """The time is used up while all trials are in their first epoch, after which they pause."""
    sweep = sweep_of({"name": "simulate", "epoch": "1h"}, trials=1000)
    changes = {"budget": sweep.budget.model_copy(update={"timeout": 60.0, "epochs": 5})}
    promote = PromoteConfig(name="promote", rungs=tuple(rungs), keep=0.1)
    result = run(workspace, sweep.model_copy(update={**changes, "pruner": promote}))
    assert "60 s is used up" in str(result.stopped_because)
    ends = sorted((row.state, row.epochs) for row in result.rows)
    assert ends == [(TrialState.COMPLETE, 5), (TrialState.PRUNED, 1)]
    first, second = sorted(result.rows, key=lambda row: row.state)
    curves = StudyStore.load(f"sqlite:///{workspace.optuna_database}", "s").curves({0, 1})
    assert curves[first.number][1] >= curves[second.number][1]

"""What holds of every study at its end, whatever has happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.results import TrialRow, TrialState
from sweeper.standings.pareto import choose
from sweeper.study.losses import MAX_MACHINES
from sweeper.study.result import SweepResult
from sweeper.tracking.tags import STATUS, SWEEP, TRIAL_TAG
from tests.simulation.server import Run
from tests.simulation.simulation import Simulation


def violations(simulation: Simulation, result: SweepResult) -> Iterator[str]:
    """Yield what does not hold."""
    yield from _budget(simulation, result)
    yield from _trials(simulation, result)
    yield from _best(simulation, result)
    yield from _records(simulation, result)
    yield from _leftovers(simulation)


def _budget(simulation: Simulation, result: SweepResult) -> Iterator[str]:
    numbers = [row.number for row in result.rows]
    if numbers != list(range(simulation.setting.sweep.budget.trials)):
        yield f"the budget is {simulation.setting.sweep.budget.trials} trials, and there are {numbers}"
    for number, specs in simulation.specs.items():
        if len({(spec.seed, spec.config.model_dump_json()) for spec in specs}) > 1:
            yield f"trial {number} was given out with different settings"


def _trials(simulation: Simulation, result: SweepResult) -> Iterator[str]:
    """Each trial has ended once, and each of its epochs was reported once, in order, with the value it had."""
    endings = Counter(
        line.split()[3] for line in simulation.world.happened if _is_an_ending(line)
    )  # by Optuna's id of the trial
    for row, trial in zip(result.rows, _stored(simulation), strict=True):
        if not trial.state.is_finished():
            yield f"trial {row.number} is still {trial.state.name}"
        if endings[str(trial._trial_id)] != 1:
            yield f"trial {row.number} was ended {endings[str(trial._trial_id)]} times"
        yield from _epochs(simulation, row, trial)


def _is_an_ending(line: str) -> bool:
    return " wrote set_trial_state_values " in line and line.endswith(("COMPLETE", "PRUNED", "FAIL"))


def _epochs(simulation: Simulation, row: TrialRow, trial: FrozenTrial) -> Iterator[str]:
    steps = list(trial.intermediate_values)
    if steps != list(range(1, len(steps) + 1)):
        yield f"trial {row.number} has reported the epochs {steps}"
    if row.state is TrialState.COMPLETE and row.epochs != len(steps):
        yield f"trial {row.number} has {row.epochs} epochs and has reported {len(steps)}"
    too_often = f"{MAX_MACHINES} times without an epoch"  # one that may itself be what ends its machines
    if row.state is TrialState.FAILED and "machine was lost" in str(row.reason) and too_often not in str(row.reason):
        yield f"trial {row.number} has failed since a machine was lost"
    values = trial.intermediate_values.values()
    if row.state is TrialState.COMPLETE:
        best = max(values) if simulation.setting.sweep.objective.direction == "maximize" else min(values)
        if row.value != best or trial.value != best:
            yield f"trial {row.number} reached {best} and is recorded with {row.value}, {trial.value}"
    elif row.state is TrialState.FAILED and row.value is not None:
        yield f"trial {row.number} has failed and has a score"


def _best(simulation: Simulation, result: SweepResult) -> Iterator[str]:
    """The best trial has the best value of all that are complete."""
    sweep = simulation.setting.sweep
    values = [row.value for row in result.rows if row.state is TrialState.COMPLETE and row.value is not None]
    best, chosen = sorted(values, reverse=sweep.objective.direction == "maximize")[:1], choose(result.rows, sweep)
    if best != ([chosen.value] if chosen else []):
        yield f"the best value is {best}, and the best trial has {chosen}"
    parents = simulation.server.tagged({TRIAL_TAG: SWEEP})
    if best and parents:
        points = sorted(simulation.server.runs[parents[0]].points["best/value"])
        if not points or points[-1][1] != best[0]:
            yield f"the history of the study ends with {points[-1:]}, and the best value is {best}"


def _records(simulation: Simulation, result: SweepResult) -> Iterator[str]:
    """MLflow has one run a trial, closed as the trial ended, with each epoch of each metric once."""
    server = simulation.server
    parents = server.tagged({TRIAL_TAG: SWEEP})
    if [server.runs[run].status for run in parents] != ["FINISHED"]:
        yield f"the parent runs {parents} are {[server.runs[run].status for run in parents]}"
    for row, trial in zip(result.rows, _stored(simulation), strict=True):
        runs = server.tagged({TRIAL_TAG: str(row.number)})
        if len(runs) != 1:
            yield f"trial {row.number} has {len(runs)} runs"
            continue
        yield from _run(server.runs[runs[0]], row, trial)
    for name, run in server.runs.items():
        for metric, points in run.points.items():
            twice = [step for step, number in Counter(step for step, _, _ in points).items() if number > 1]
            if twice:
                yield f"{name} has the steps {twice} of {metric} more than once"


def _run(run: Run, row: TrialRow, trial: FrozenTrial) -> Iterator[str]:
    if run.status != STATUS[row.state]:
        yield f"the run of trial {row.number}, which is {row.state}, is {run.status}"
    recorded = {step: value for step, value, _ in run.points.get("val/accuracy", ())}
    if row.state is not TrialState.FAILED and sorted(recorded) != list(trial.intermediate_values):
        yield f"the run of trial {row.number} has the epochs {sorted(recorded)}, not {list(trial.intermediate_values)}"


def _leftovers(simulation: Simulation) -> Iterator[str]:
    folder = simulation.workspace.study("s")
    left = [path.name for path in (*folder.path.glob("trial-*"), *folder.delivered())]
    if left:
        yield f"the folders {left} are left"
    states = (OptunaState.RUNNING, OptunaState.WAITING)
    orphans = [trial.number for trial in _stored(simulation) if trial.state in states]
    if orphans:
        yield f"the trials {orphans} have not ended, and nobody is on them"


def _stored(simulation: Simulation) -> list[FrozenTrial]:
    study = optuna.load_study(study_name="s", storage=simulation.open_storage("sqlite://"))
    return study.get_trials(deepcopy=False)

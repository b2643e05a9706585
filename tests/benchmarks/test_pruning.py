"""The pruning benchmark measures what it says: real curves, the product's decisions, and losses at equal cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.curve_replay import PRUNERS, Curve, load_curves, replay
from benchmarks.frontier import loss_at
from benchmarks.pruning import judge, setting, settings
from sweeper.config.loading import load_sweep
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.study_store import StudyStore
from tests.functional.program import REPOSITORY
from tests.search.asking import next_trial

FOLDER = REPOSITORY / "benchmarks" / "curves"
RECORDED = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_curves_were_recorded_without_pruning_from_the_search_space_beside_them(path: Path) -> None:
    content, sweep = json.loads(path.read_text()), load_sweep(path.with_suffix(".yaml"))
    assert (sweep.study, sweep.budget.epochs, sweep.pruner.name) == (content["study"], content["epochs"], "none")
    curves = load_curves(path)
    assert len(curves) >= 20
    assert {(len(curve.values), len(curve.rates)) for curve in curves} == {(sweep.budget.epochs,) * 2}
    assert path.stat().st_size < 250_000


WRAPPED = {"name": "plateau", "first_epochs": 1, "phase_epochs": 4, "grace_epochs": 2}


@pytest.mark.parametrize(
    "pruner",
    [
        WRAPPED | {"pruner": {"name": "hyperband", "reduction_factor": 2}},
        WRAPPED | {"pruner": {"name": "median", "startup_trials": 2}},
        pytest.param({"name": "percentile", "percentile": 60, "startup_trials": 2}, marks=pytest.mark.slow),
        pytest.param({"name": "hyperband"}, marks=pytest.mark.slow),
    ],
    ids=lambda pruner: f"{pruner['name']} {pruner.get('pruner', {}).get('name', '')}",
)
def test_a_replay_prunes_what_a_study_prunes(tmp_path: Path, pruner: dict[str, Any]) -> None:
    curves = [Curve(curve.values[:14], curve.rates[:14]) for curve in load_curves(RECORDED[-1])[:8]]
    found = replay(curves, setting("any", **pruner), "s")
    assert any(found)
    assert found == pruned_by_a_study(curves, pruner, f"sqlite:///{tmp_path / 'optuna.db'}")


def pruned_by_a_study(curves: list[Curve], pruner: dict[str, object], url: str) -> list[int | None]:
    budget = {"trials": len(curves), "epochs": len(curves[0].values)}
    content = {"study": "s", "dataset": {"builtin": "digits"}, "budget": budget, "sampler": "random", "pruner": pruner}
    store = StudyStore.create_or_load(url, SweepConfig.model_validate(content | {"search": {"backbone": "r"}}))
    found: list[int | None] = []
    while (spec := next_trial(store)) is not None:
        curve = curves[spec.number]
        points = enumerate(zip(curve.values, curve.rates, strict=True), 1)
        found.append(next((at for at, (value, rate) in points if store.report(spec.number, at, value, rate)), None))
        state = TrialState.COMPLETE if found[-1] is None else TrialState.PRUNED
        store.finish(spec.number, TrialOutcome(state=state, best_epoch=1, best_value=curve.final))
    return found


def test_every_setting_of_the_benchmark_is_one_a_search_space_may_name() -> None:
    tried = list(settings())
    assert len(set(tried)) == len(tried)
    for one in tried:
        PRUNERS.validate_json(one.pruner)


def test_several_workers_run_every_trial_once() -> None:
    curves = [Curve((0.1, 0.2, 0.3 + index / 100), (0.1,) * 3) for index in range(7)]
    assert replay(curves, setting("any", name="none"), "s", workers=3) == [None] * 7


def test_a_replay_is_judged_by_its_cost_and_by_the_good_trials_it_pruned() -> None:
    curves = [Curve((0.1, value), (0.1, 0.1)) for value in (0.9, 0.5, 0.8)]
    assert judge(curves, [1, 1, None]) == {"cost": 4 / 6, "tenth": 1, "best": 1, "regret": pytest.approx(10)}
    assert judge(curves, [None, 1, 1]) == {"cost": 4 / 6, "tenth": 0, "best": 0, "regret": 0}


POINTS = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0, 1)), min_size=1, max_size=20)


@given(POINTS)
def test_the_loss_at_a_cost_is_at_most_that_of_any_setting_and_falls_with_the_cost(
    points: list[tuple[float, float]],
) -> None:
    costs, losses = np.array(points).T
    assert (loss_at(costs, costs, losses) <= losses + 1e-9).all()
    line = loss_at(np.linspace(costs.min(), 1, 50), costs, losses)
    assert (np.diff(line) <= 1e-9).all()
    assert line[-1] == 0
    assert np.isnan(loss_at([costs.min() - 0.01], costs, losses)).all()

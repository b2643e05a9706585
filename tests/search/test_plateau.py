"""Phases of a trial, and a pruner that compares trials at their ends."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from sweeper.config.sweep import SweepConfig
from sweeper.search.plateau import LEARNING_RATES, Phases, PlateauPruner, reductions, with_rate
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial

PHASES = Phases(first_epochs=2, phase_epochs=8, grace_epochs=3)


def trial_of(values: list[float], rates: list[float], state: OptunaState = OptunaState.COMPLETE) -> FrozenTrial:
    reported = dict(enumerate(values, 1))
    attributes = {LEARNING_RATES: rates_of(rates)}
    value = max(values) if state is OptunaState.COMPLETE else None
    trial = create_trial(value=value, state=state, intermediate_values=reported, user_attrs=attributes)
    trial.number = 99  # one that no trial of a study has; a study gives its own
    return trial


def rates_of(rates: list[float]) -> dict[str, float]:
    kept: dict[str, float] = {}
    for epoch, rate in enumerate(rates, 1):
        kept = with_rate(kept, epoch, rate)
    return kept


@given(st.lists(st.sampled_from([0.1, 0.09, 0.05, 0.01]), max_size=30))
def test_rates_are_kept_as_changes_only_and_noting_one_again_changes_nothing(rates: list[float]) -> None:
    kept = rates_of(rates)
    assert len(kept) == sum(index == 0 or rate != rates[index - 1] for index, rate in enumerate(rates))
    assert not rates or with_rate(kept, len(rates), rates[-1]) == kept


def test_a_rate_that_rises_or_falls_a_little_is_not_reduced() -> None:
    warming_up, annealed = [0.02, 0.06, 0.1], [0.095, 0.09, 0.08]
    assert reductions(rates_of(warming_up + annealed)) == []
    assert reductions(rates_of([0.1, 0.1, 0.05, 0.05, 0.01])) == [3, 5]


def test_a_phase_ends_when_a_reduction_has_had_its_grace_and_otherwise_after_that_many_epochs() -> None:
    assert PHASES.ends([], 20) == {2: 1, 8: 2, 16: 3}
    assert PHASES.ends([5], 20) == {2: 1, 7: 2, 16: 3}
    assert PHASES.ends([4, 9], 20) == {2: 1, 6: 2, 11: 3}
    assert PHASES.ends([19], 20) == {2: 1, 8: 2, 16: 3}


@given(
    st.builds(Phases, st.integers(1, 5), st.integers(1, 12), st.integers(1, 6)),
    st.sets(st.integers(2, 40)),
    st.integers(1, 40),
)
def test_what_comes_later_never_moves_the_end_of_a_phase(phases: Phases, reduced_at: set[int], epoch: int) -> None:
    known = phases.ends(sorted(at for at in reduced_at if at <= epoch), epoch)
    afterwards = phases.ends(sorted(reduced_at), 40)
    assert known == {end: count for end, count in afterwards.items() if end <= epoch}
    assert list(afterwards) == sorted(afterwards)
    assert list(afterwards.values()) == sorted(set(afterwards.values()))


def study_of(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def test_a_trial_before_its_reduction_is_not_compared_with_trials_behind_theirs() -> None:
    early = trial_of([0.3, 0.4, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8], [0.1] * 3 + [0.01] * 6)
    study = study_of(*[early] * 5)
    late = trial_of([0.3, 0.4, 0.5, 0.5, 0.5, 0.5], [0.1] * 6, OptunaState.RUNNING)
    median = optuna.pruners.MedianPruner(5)
    assert median.prune(study, late)
    assert not PlateauPruner(median, PHASES).prune(study, late)


def test_a_trial_that_stays_behind_after_its_reduction_is_pruned_when_the_phase_ends() -> None:
    early = trial_of([0.3, 0.4, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8], [0.1] * 3 + [0.01] * 6)
    study, values, rates = study_of(*[early] * 5), [0.3, 0.4, 0.5, 0.5, 0.6, 0.6, 0.6], [0.1] * 4 + [0.01] * 3
    pruner = PlateauPruner(optuna.pruners.MedianPruner(5), PHASES)
    answers = [pruner.prune(study, trial_of(values[:n], rates[:n], OptunaState.RUNNING)) for n in range(1, 8)]
    assert answers == [False] * 6 + [True]


def test_trials_that_were_pruned_after_a_phase_still_count_in_it() -> None:
    poor = trial_of([0.1, 0.2], [0.1] * 2, OptunaState.PRUNED)
    good = trial_of([0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], [0.1] * 8)
    judged = trial_of([0.4, 0.5], [0.1] * 2, OptunaState.RUNNING)
    median = optuna.pruners.MedianPruner(1)
    assert median.prune(study_of(good, poor, poor), judged)
    assert not PlateauPruner(median, PHASES).prune(study_of(good, poor, poor), judged)
    assert PlateauPruner(median, PHASES).prune(study_of(good, good, poor), judged)


@pytest.mark.parametrize("state", [OptunaState.RUNNING, OptunaState.WAITING])
def test_trials_whose_first_phase_has_not_ended_are_none_of_those_at_the_start(state: OptunaState) -> None:
    good, begun = trial_of([0.8, 0.9], [0.1] * 2), trial_of([0.7], [0.1], state)
    judged = trial_of([0.4, 0.5], [0.1] * 2, OptunaState.RUNNING)
    pruner = PlateauPruner(optuna.pruners.MedianPruner(2), PHASES)
    assert not pruner.prune(study_of(good, begun, begun), judged)
    assert pruner.prune(study_of(good, good, begun), judged)


class Asked(optuna.pruners.BasePruner):
    """Notes the steps at which it is asked, and what it is shown."""

    def __init__(self) -> None:
        self.shown: list[dict[int, float]] = []

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.shown.append(dict(trial.intermediate_values))
        return False


def test_the_other_pruner_is_asked_once_a_phase_and_shown_the_best_value_of_each() -> None:
    asked = Asked()
    pruner = PlateauPruner(asked, PHASES)
    values, rates = [0.1, 0.3, 0.2, 0.6, 0.5, 0.4, 0.4, 0.4], [0.1] * 3 + [0.01] * 5
    for n in range(1, 9):
        pruner.prune(study_of(), trial_of(values[:n], rates[:n], OptunaState.RUNNING))
    assert asked.shown == [{1: 0.3}, {1: 0.3, 2: 0.6}]


@pytest.mark.parametrize(("pruner", "noted"), [("plateau", {"1": 0.1, "3": 0.01}), ("median", {})])
def test_learning_rates_are_stored_where_the_pruner_looks_at_them(
    tmp_path: Path, pruner: str, noted: dict[str, float]
) -> None:
    sweep = SweepConfig.model_validate(
        {"study": "s", "dataset": {"builtin": "digits"}, "pruner": pruner, "search": {"backbone": "r"}}
    )
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", sweep)
    assert next_trial(store) is not None
    for epoch, rate in enumerate([0.1, 0.1, 0.01, 0.01], 1):
        store.report(0, epoch, 0.5, rate)
    assert store._study.trials[0].user_attrs.get(LEARNING_RATES, {}) == noted

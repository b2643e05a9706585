"""Which paused trial goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from sweeper.config.pruner import PromoteConfig, rungs
from sweeper.search.promotion import Promotion, Standing, best_first, spread, standings
from sweeper.search.stored_trial import OUTSIDE, PAUSED

EPOCHS = 9


def config(*rungs: int, keep: float = 1 / 3) -> PromoteConfig:
    return PromoteConfig.model_validate({"name": "promote", "rungs": rungs or (1, 3), "keep": keep})


def paused(number: int, *values: float) -> Standing:
    return Standing(number, dict(enumerate(values, 1)), paused=len(values))


def test_trials_pause_once_after_a_tenth_of_the_epochs_rounded_up_unless_told_otherwise() -> None:
    default = PromoteConfig(name="promote")
    assert [rungs(default, epochs) for epochs in (1, 2, 10, 11, 15, 30, 100)] == [
        (),
        (1,),
        (1,),
        (2,),
        (2,),
        (3,),
        (10,),
    ]
    assert rungs(config(4, 2, 50), 10) == (2, 4)


def test_trials_that_go_on_from_another_one_pause_after_epochs_of_their_own() -> None:
    default = PromoteConfig(name="promote")
    assert [rungs(default, 20 + epochs, 20) for epochs in (1, 2, 15, 30, 100)] == [(), (21,), (22,), (23,), (30,)]
    assert rungs(config(4, 2, 50), 17, 7) == (9, 11)
    assert Promotion(config(1), 25, 20).after(0) == 21


def test_the_best_of_three_goes_on_and_further_ones_as_more_arrive() -> None:
    promotion = Promotion(config(), EPOCHS)
    three = [paused(0, 0.1), paused(1, 0.3), paused(2, 0.2)]
    assert promotion.next(three[:2], last=False) is None
    assert promotion.next(three, last=False) == 1
    on = [three[0], replace(three[1], paused=None), three[2]]
    assert promotion.next(on, last=False) is None
    five = [*on, paused(3, 0.25), paused(4, 0.05)]
    assert promotion.next(five, last=False) is None
    assert promotion.next([*five, paused(5, 0.0)], last=False) == 3


def test_a_higher_rung_comes_first() -> None:
    promotion = Promotion(config(), EPOCHS)
    above = [paused(number, 0.5, 0.5, 0.5 + number / 100) for number in range(3)]
    below = [paused(number, 0.9) for number in range(3, 20)]
    assert promotion.next([*above, *below], last=False) == 2


def test_the_best_value_until_a_rung_counts_and_not_the_last() -> None:
    promotion = Promotion(config(2), EPOCHS)
    assert promotion.next([paused(0, 0.9, 0.1), paused(1, 0.2, 0.3), paused(2, 0.2, 0.4)], last=False) == 0


def test_one_that_ends_before_the_next_rung_leaves_its_place_to_the_next_best() -> None:
    promotion = Promotion(config(), EPOCHS)
    stalled = Standing(1, {1: 0.3, 2: 0.3}, ended=True)
    assert promotion.next([paused(0, 0.1), stalled, paused(2, 0.2)], last=False) == 2
    went_on = Standing(1, {1: 0.3, 2: 0.3, 3: 0.4}, paused=3)
    assert promotion.next([paused(0, 0.1), went_on, paused(2, 0.2)], last=False) is None


def test_after_the_last_rung_one_that_is_complete_keeps_its_place_and_one_that_went_wrong_does_not() -> None:
    promotion, others = Promotion(config(), EPOCHS), [paused(0, 0.1, 0.1, 0.1), paused(2, 0.2, 0.2, 0.2)]
    study = optuna.create_study(direction="maximize")
    values = dict.fromkeys(range(1, 6), 0.3)
    study.add_trial(create_trial(value=0.3, intermediate_values=values))
    study.add_trial(create_trial(state=OptunaState.PRUNED, intermediate_values=values))
    stalled, skipped = (replace(trial, number=1) for trial in standings(study.trials, maximize=True))
    assert promotion.next([*others, stalled], last=False) is None
    assert promotion.next([*others, skipped], last=False) == 2


def test_trials_that_are_history_take_no_places_and_make_none() -> None:
    def trial(value: float, **attributes: Any) -> FrozenTrial:
        state = OptunaState.FAIL if OUTSIDE in attributes else OptunaState.RUNNING
        return create_trial(state=state, intermediate_values={1: value}, user_attrs={PAUSED: "{}", **attributes})

    history = {OUTSIDE: {"state": "PRUNED", "values": None, "why": "another backbone"}}
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial(0.1), trial(0.2), trial(0.9, **history)])
    assert Promotion(config(1), EPOCHS).next(standings(study.trials, maximize=True), last=False) is None


def test_of_a_few_trials_one_goes_on_to_the_end() -> None:
    promotion = Promotion(config(), EPOCHS)
    assert promotion.next([paused(0, 0.1), paused(1, 0.3)], last=True) == 1
    assert promotion.next([paused(0, 0.1), paused(1, 0.3, 0.4, 0.5)], last=True) == 1
    assert (
        promotion.next([paused(0, 0.1), Standing(1, dict.fromkeys(range(1, 10), 0.3), ended=True)], last=True) is None
    )


def searched(promotion: Promotion, curves: list[list[float]]) -> list[Standing]:
    """Run a whole study with one worker."""
    trials: list[Standing] = []
    while True:
        last = len(trials) == len(curves)
        number = promotion.next(trials, last=last)
        if number is None and last:
            return trials
        if number is None:
            number = len(trials)
            trials.append(Standing(number, {}))
        until = promotion.after(trials[number].epochs)
        values = dict(enumerate(curves[number][:until], 1))
        ended = until == EPOCHS
        trials[number] = Standing(number, values, paused=None if ended else until, ended=ended)


curve = st.lists(st.floats(0, 1), min_size=EPOCHS, max_size=EPOCHS)


@settings(max_examples=60, deadline=None)
@given(st.lists(curve, min_size=1, max_size=25), st.floats(0.1, 0.9), st.lists(st.integers(1, 8), min_size=1))
def test_a_study_ends_with_a_whole_trial_and_a_trial_that_always_leads_is_one(
    curves: list[list[float]], keep: float, pauses: list[int]
) -> None:
    promotion = Promotion(config(*pauses, keep=keep), EPOCHS)
    curves = [*curves, [2.0] * EPOCHS]
    trials = searched(promotion, curves)
    assert trials[-1].epochs == EPOCHS
    for rung in rungs(config(*pauses, keep=keep), EPOCHS):
        reached = [trial for trial in trials if trial.epochs >= rung]
        on = [trial for trial in reached if trial.epochs > rung]
        halted = [trial for trial in reached if trial.epochs == rung]
        assert len(on) >= 1
        places = max(1, int(keep * len(reached) + 1e-9))
        best = sorted(reached, key=lambda trial: (-trial.best_until(rung), trial.number))[:places]
        assert all(trial in on for trial in best), (rung, halted)  # nobody among the best is left behind


def with_goals(number: int, *goals: float) -> Standing:
    return Standing(number, {1: -goals[0]}, paused=1, goals={1: goals})


def test_of_several_objectives_those_go_on_first_that_no_other_beats_in_all() -> None:
    beaten = with_goals(0, 0.5, 0.5)
    front = [with_goals(1, 0.1, 0.9), with_goals(2, 0.4, 0.4), with_goals(3, 0.9, 0.1)]
    order = [trial.number for trial in best_first([beaten, *front], 1)]
    assert order == [1, 3, 2, 0]  # the ends of the front before its middle
    promotion = Promotion(config(1, keep=0.5), EPOCHS)
    assert promotion.next([beaten, *front], last=False) == 1
    on = [beaten, replace(front[0], paused=None), *front[1:]]
    assert promotion.next(on, last=False) == 3


def test_a_trial_without_its_objectives_at_a_rung_comes_last() -> None:
    unknown = Standing(0, {1: 9.0}, paused=1)
    assert [trial.number for trial in best_first([unknown, with_goals(1, 5.0, 5.0)], 1)] == [1, 0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_nobody_is_before_one_that_beats_it(goals: list[tuple[int, int]]) -> None:
    order = best_first([with_goals(number, *map(float, each)) for number, each in enumerate(goals)], 1)
    for place, trial in enumerate(order):
        first, second = trial.goals[1]
        for later in order[place + 1 :]:
            assert not (later.goals[1][0] < first and later.goals[1][1] < second)


def test_the_crowding_distance_is_that_of_nsga() -> None:
    points = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0], [1.0, 2.0]])
    found = spread(points)
    assert list(found) == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf, 0.0]


def test_a_trial_that_paused_where_there_is_no_rung_now_goes_on_to_the_next_one() -> None:
    promotion = Promotion(config(3), EPOCHS)
    trials = [paused(0, 0.1, 0.1), paused(1, 0.9, 0.9, 0.9)]
    assert promotion.next(trials, last=False) == 0
    assert promotion.after(2) == 3
    assert promotion.next([replace(trials[0], paused=None), trials[1]], last=False) is None


def test_of_trials_that_paused_at_no_rung_the_best_alone_goes_on_to_be_the_only_complete_one() -> None:
    promotion = Promotion(config(3), EPOCHS)
    trials = [paused(0, 0.1, 0.1), paused(1, 0.3, 0.3), paused(2, 0.2, 0.2)]
    assert promotion.next(trials, last=True, one=True) == 1
    there = [trials[0], paused(1, 0.3, 0.3, 0.3), trials[2]]
    assert promotion.next(there, last=True, one=True) == 1, "and on to its end before the others come to the rung"

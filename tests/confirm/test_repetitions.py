"""The ledger of repetitions: every leader with every seed once, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.confirm.repetitions import Repetitions, latest, leaders_of, stored_repetitions
from sweeper.paths import StudyFolder
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.samplers import trial_seed
from tests.standings.test_ranking import row

SWEEP = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
DONE = TrialOutcome(state=TrialState.COMPLETE, best_value=0.5, epochs=1)
LEADERS = [
    row(number, 0.5).model_copy(update={"config_json": TrialConfig(backbone=f"r{number}").model_dump_json()})
    for number in (3, 8)
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(2, 3)), max_size=4))
def test_every_leader_is_trained_once_with_each_seed_over_any_restarts(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int, int]]
) -> None:
    folder = StudyFolder(tmp_path_factory.mktemp("s"))
    trained: list[tuple[int, int, int]] = []
    for finished, top, seeds in [*runs, (99, 2, 3)]:
        ledger = Repetitions.begin(SWEEP, folder, LEADERS[:top], seeds)
        for _ in range(finished):
            for spec in ledger.next_group(1):
                assert spec.repeats is not None
                trained.append((spec.repeats.trial, spec.repeats.seed_number, spec.seed))
                ledger.finish(spec.number, DONE)
        ledger.next_group(2)  # and the driver dies
    assert sorted(pair[:2] for pair in trained) == [(trial, seed) for trial in (3, 8) for seed in (1, 2, 3)]
    assert len({seed for *_, seed in trained}) == 6
    assert not {seed for *_, seed in trained} & {trial_seed(SWEEP.seed, number) for number in range(100)}
    assert Repetitions.begin(SWEEP, folder, LEADERS, 3).remaining() == 0


def test_leaders_are_finished_trials_and_each_configuration_once() -> None:
    pruned = LEADERS[0].model_copy(update={"number": 1, "state": TrialState.PRUNED})
    twin = LEADERS[0].model_copy(update={"number": 5})
    assert [leader.number for leader in leaders_of([*LEADERS[:1], twin, pruned, *LEADERS[1:]], 2)] == [3, 8]


def test_what_has_ended_of_a_larger_plan_is_counted_as_a_part_of_the_new_one(tmp_path: Path) -> None:
    larger = Repetitions.begin(SWEEP, StudyFolder(tmp_path), LEADERS, 2)
    for spec in larger.next_group(3):
        larger.finish(spec.number, DONE)
    smaller = Repetitions.begin(SWEEP, StudyFolder(tmp_path), LEADERS[:1], 3)
    ended = sum(row.state.ended for row in smaller.rows())
    assert (ended, smaller.remaining(), smaller.budget) == (3, 1, 4)


def test_an_early_end_counts_the_seeds_that_all_have(tmp_path: Path) -> None:
    ledger = Repetitions.begin(SWEEP, StudyFolder(tmp_path), LEADERS, 3)
    ended = 0
    for wanted in (0, 0, 1, 1, 2, 2, 3):
        assert ledger.full_rounds() == wanted, ended
        assert [len(ledger.outcomes(row.number)) for row in LEADERS] == [wanted, wanted]
        if ended < 6:
            (spec,) = ledger.next_group(1)
            value = 0.5 + spec.number / 100
            ledger.finish(
                spec.number, TrialOutcome(state=TrialState.COMPLETE, best_value=value, best_epoch=1, epochs=1)
            )
            ended += 1
    assert ledger.remaining() == 0


def test_repetitions_are_trained_again_only_where_none_ended_well(tmp_path: Path) -> None:
    failed = TrialOutcome(state=TrialState.FAILED, reason="no room", feasible=False)

    def run(*outcomes: TrialOutcome) -> Repetitions:
        ledger = Repetitions.begin(SWEEP, StudyFolder(tmp_path), LEADERS, 1)
        for outcome in outcomes:
            (spec,) = ledger.next_group(1)
            ledger.finish(spec.number, outcome)
        return ledger

    assert run(failed).remaining() == 1  # of leader 3; then the study stops
    second = run(failed, failed)
    assert [(one.number, one.params["trial"]) for one in second.rows()] == [(0, 3), (1, 8), (2, 3)]
    assert second.all_failed()
    third = run(failed, DONE)
    assert [(one.number, one.params["trial"]) for one in third.rows()][3:] == [(3, 3), (4, 8)]
    assert (third.all_failed(), third.outcomes(3), third.outcomes(8)) == (False, [failed], [DONE])
    assert run().remaining() == 0
    assert [one.number for one in latest(stored_repetitions(StudyFolder(tmp_path)))] == [3, 4]


def test_what_has_ended_says_early_that_nothing_ends_well(tmp_path: Path) -> None:
    failed = TrialOutcome(state=TrialState.FAILED, reason="no room", feasible=False)
    ledger = Repetitions.begin(SWEEP, StudyFolder(tmp_path), LEADERS, 2)
    assert not ledger.none_ended_well()
    for outcome, none in ((failed, True), (failed, True), (DONE, False), (failed, False)):
        (spec,) = ledger.next_group(1)
        ledger.finish(spec.number, outcome)
        assert ledger.none_ended_well() is none

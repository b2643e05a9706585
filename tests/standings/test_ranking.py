"""The order of trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.paths import Workspace
from sweeper.results import TrialRow, TrialState, read_history
from sweeper.standings.ranking import ranked
from sweeper.study.preparation import image_sizes
from sweeper.study.summary import optimization_history, trials_csv, write_summary


def row(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialRow:
    return TrialRow(
        number=number,
        state=state,
        value=value,
        best_epoch=1,
        epochs=1,
        seconds=1.0,
        ended_ms=1000 - number,
        params={"lr": value, "batch": number},
        config_json=None,
        reason=None,
    )


ROWS = [row(0, 0.5), row(1, 0.9, TrialState.PRUNED), row(2, 0.7), row(3, None, TrialState.FAILED), row(4, 0.7)]


def test_finished_trials_stand_above_pruned_ones_and_ties_keep_their_order() -> None:
    assert [item.number for item in ranked(ROWS, "maximize")] == [2, 4, 0, 1]
    assert [item.number for item in ranked(ROWS, "minimize")] == [0, 2, 4, 1]


def test_a_trial_that_scored_zero_is_ranked() -> None:
    assert [item.number for item in ranked([row(0, 0.0), row(1, -1.0)], "maximize")] == [0, 1]


def test_the_optimisation_history_follows_the_order_in_which_trials_ended() -> None:
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
    history = optimization_history(sweep, ROWS)
    assert [point.timestamp_ms for point in history] == [996, 997, 998, 999, 1000]
    assert [point.values.get("best/value") for point in history] == [0.7, 0.7, 0.7, 0.7, 0.7]
    assert history[-1].values["trials/failed"] == 1
    assert "trial/value" not in history[1].values


def test_points_of_the_history_keep_their_places_when_the_clock_is_set_back(tmp_path: Path) -> None:
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
    folder, first = Workspace(tmp_path).study("s"), row(0, 0.5).model_copy(update={"ended_ms": 5000})
    write_summary(folder, sweep, [first])
    before = read_history(folder.history)
    write_summary(folder, sweep, [first, row(1, 0.6).model_copy(update={"ended_ms": 1400})])
    after = read_history(folder.history)
    assert after[:1] == before
    assert after[1].timestamp_ms > after[0].timestamp_ms
    assert [point.values["trial/number"] for point in after] == [0, 1]


def test_the_parent_run_gets_the_best_trial_with_its_whole_configuration(tmp_path: Path) -> None:
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
    config = TrialConfig(backbone="r", weight_decay=0.25)
    best = row(5, 0.8).model_copy(update={"config_json": config.model_dump_json()})
    folder = Workspace(tmp_path).study("s")
    write_summary(folder, sweep, [*ROWS, best])
    written = json.loads((folder.sweep / "artifacts/best_trial.json").read_text())
    assert (written["number"], written["value"]) == (5, 0.8)
    assert TrialConfig.model_validate(written["config"]) == config


def test_the_table_of_trials_lists_every_trial_and_parameter() -> None:
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
    lines = trials_csv(ROWS, sweep).splitlines()
    assert lines[0].endswith("batch,lr")
    assert len(lines) == 6
    assert lines[1].startswith("1,2,complete,0.7")
    assert lines[-1].startswith(",3,failed,,")


@pytest.mark.parametrize(
    ("size", "sizes"), [(32, [32]), ({"choice": [64, 32]}, [32, 64]), ({"int": [32, 64], "step": 16}, [32, 48, 64])]
)
def test_images_are_decoded_in_every_size_a_trial_may_ask_for(size: object, sizes: list[int]) -> None:
    search = {"backbone": "r", "image_size": size}
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": search})
    assert image_sizes(sweep.search.image_size) == sizes

"""How the parameters of a study are drawn, and which images are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeper.config.sweep import SweepConfig
from sweeper.report.payload import confusions_payload, images_payload, params_payload
from sweeper.report.pictures import ImageFiles
from sweeper.report.records import TrialRecord
from sweeper.results import TrialRow, TrialState
from sweeper.scores.predictions import Ids, Predictions, image_ids
from tests.standings.test_ranking import row

SEARCH = {
    "backbone": "r",
    "batch_size": {"choice": [32, 64, 128]},
    "weight_decay": {"float": [1e-6, 1e-4], "log": True},
    "label_smoothing": {"float": [0, 0.2]},
    "augment": {"crop_padding": {"int": [0, 4]}},
}


def drawn(*params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the page says about each parameter of trials with these values."""
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"path": "d"}, "search": SEARCH})
    rows = [
        TrialRow(
            number=number,
            state=TrialState.COMPLETE,
            value=0.5,
            best_epoch=1,
            epochs=1,
            seconds=1.0,
            ended_ms=1,
            params=given,
            config_json=None,
            reason=None,
        )
        for number, given in enumerate(params)
    ]
    return {param["name"]: param for param in params_payload(rows, sweep)}


def test_a_choice_of_numbers_is_drawn_as_categories_in_its_own_order() -> None:
    found = drawn({"batch_size": 128}, {"batch_size": 32})["batch_size"]
    assert (found["kind"], found["numeric"], found["values"]) == ("category", True, [32, 64, 128])


def test_an_axis_is_logarithmic_where_the_search_space_says_so_however_narrow_the_values() -> None:
    assert drawn({"weight_decay": 2e-5}, {"weight_decay": 3e-5})["weight_decay"]["log"]
    assert not drawn({"label_smoothing": 0.001}, {"label_smoothing": 0.2})["label_smoothing"]["log"]


def test_whole_numbers_are_known_to_be_whole() -> None:
    found = drawn({"augment.crop_padding": 0, "label_smoothing": 0.1})
    assert (found["augment.crop_padding"]["whole"], found["label_smoothing"]["whole"]) == (True, False)


def test_a_parameter_that_the_search_space_no_longer_has_is_drawn_by_its_values() -> None:
    found = drawn({"old": 0.001, "kind": "a"}, {"old": 1.0, "kind": "b"})
    assert (found["old"]["kind"], found["old"]["log"]) == ("number", True)
    assert (found["kind"]["kind"], found["kind"]["values"]) == ("category", ["a", "b"])


def test_files_are_looked_up_for_the_images_of_the_trials_that_are_shown() -> None:
    """A cross-validated trial that was pruned has judged the images of its folds alone."""
    names, asked = [f"val/{number}.png" for number in range(6)], list[list[int]]()

    def judged(number: int, value: float, images: int, state: TrialState) -> TrialRecord:
        right = np.tile([[0, 1]], (images, 1))
        shares = np.tile(np.array([[0.8, 0.2]], np.float32), (images, 1))
        found = Predictions(image_ids(names[:images]), np.zeros(images, np.int64), right, shares, shares[:, 0])
        return TrialRecord(row(number, value, state), {}, predictions=found)

    def find(ids: Ids) -> ImageFiles:
        asked.append(ids.tolist())
        return ImageFiles("nowhere", ("",) * len(ids))

    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"path": "d"}, "search": SEARCH})
    records = [judged(0, 0.4, 2, TrialState.PRUNED), judged(1, 0.9, 6, TrialState.COMPLETE)]
    found = images_payload(records, sweep, 2, find)
    assert (found["count"], list(found["trials"])) == (6, ["1"])
    assert asked == [image_ids(names).tolist()]
    assert confusions_payload(records, sweep, 2) == {"0": [[0, 0, 2]]}

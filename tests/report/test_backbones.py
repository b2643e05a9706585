"""What the report says of a ranking of backbones."""

from __future__ import annotations

import pytest

from sweeper.report.backbones import whether_it_held


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "No trial of a ranked backbone has finished yet."),
        (["enqueued"], "The best trial uses enqueued, which was not ranked."),
        (["enqueued", "b"], "The best trial uses enqueued, which was not ranked."),
        (["b"], "The best trial uses b, which was ranked 2 of 3."),
        (
            ["a", "b"],
            "which was ranked 1 of 3. By their best trials the 2 that were searched stand in the order of the ranking.",
        ),
        (
            ["b", "a"],
            "which was ranked 2 of 3. By their best trials the 2 that were searched stand in another order: b, a.",
        ),
    ],
)
def test_a_ranking_is_compared_with_what_the_search_found(found: list[str], told: str) -> None:
    assert whether_it_held(["a", "b", "c"], found).endswith(told)

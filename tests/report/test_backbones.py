"""What the report says of a ranking of backbones."""

from __future__ import annotations

import pytest

from sweeper.report.backbones import whether_it_held


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "No trial of a ranked backbone has finished yet."),
        (["enqueued"], "The backbone of the best trial, enqueued, was not ranked."),
        (["enqueued", "b"], "The backbone of the best trial, enqueued, was not ranked."),
        (["b"], "The backbone of the best trial, b, was number 2 of 3."),
        (
            ["a", "b"],
            "was number 1 of 3. By their best trials the 2 that were searched stand in the order of the ranking.",
        ),
        (["b", "a"], "was number 2 of 3. By their best trials the 2 that were searched stand in another order: b, a."),
    ],
)
def test_a_ranking_is_compared_with_what_the_search_found(found: list[str], told: str) -> None:
    assert whether_it_held(["a", "b", "c"], found).endswith(told)

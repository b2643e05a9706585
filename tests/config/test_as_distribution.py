from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.config.as_distribution import as_distribution
from sweeper.config.loading import load_sweep
from sweeper.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1e-4, 1e-2], "{float: [0.0001, 0.01], log: true} for a range, or {choice: [0.0001, 0.01]} for these"),
        ([32, 64], "{int: [32, 64]} for a range, or {choice: [32, 64]} for these"),
        ([64, 32], "{choice: [64, 32]}"),
        ([True, False], "{choice: [true, false]}"),
        (["adamw", "sgd"], "{choice: [adamw, sgd]}"),
        ({"min": 0.1, "max": 0.5}, "{float: [0.1, 0.5]}"),
        ({"low": 1, "high": 5}, "{int: [1, 5]}"),
        ({"values": [16, 32]}, "{choice: [16, 32]}"),
        ({"loguniform": [1e-4, 1e-2]}, "{float: [0.0001, 0.01], log: true}"),
        ({"distribution": "uniform", "min": 0, "max": 0.5}, "{float: [0, 0.5]}"),
    ],
)
def test_the_way_of_another_program_is_answered_with_ours(value: Any, told: str) -> None:
    assert as_distribution(value).startswith(f"; write {told}")


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {"min": 3}, {"values": []}, {"max": 1, "min": 2}, [[1], 2]])
def test_nothing_is_offered_for_what_looks_like_no_distribution(value: Any) -> None:
    assert as_distribution(value) == ""


def test_what_is_offered_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    space: dict[str, Any] = {"study": "s", "dataset": {"path": "d"}, "search": {"backbone": "b"}}
    for lr in ([1e-4, 1e-2], {"values": [1e-4, 1e-2]}, {"min": 1e-4, "max": 1e-2}):
        space["search"]["optimizer"] = {"name": "adamw", "lr": lr}
        file.write_text(yaml.safe_dump(space))
        with pytest.raises(ConfigError) as refused:
            load_sweep(file)
        [problem] = refused.value.problems
        offered = problem.message.partition("; write ")[2].partition(" for a range")[0]
        space["search"]["optimizer"] = {"name": "adamw", "lr": yaml.safe_load(offered.replace("e-", ".0e-"))}
        file.write_text(yaml.safe_dump(space))
        load_sweep(file)

"""What a training step asks of a GPU: no waiting, and no more operators than it is known to need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.cuda.stand_in import StandIn

OPERATORS = {
    "crop and flip": 242,
    "clipped gradients": 250,
    "every augmentation": 390,
    "a random operation": 460,
    "mixed": 263,
    "balanced": 271,
    "sgd": 238,
    "adam": 242,
    "streamed": 242,
    "larger images": 247,
    "larger images, every augmentation": 395,
    "autoencoder": 106,
    "lamb": 271,
    "lion": 294,
    "muon": 624,
    "no schedule": 270,
    "the head first": 139,
    "growing images": 247,
    "a teacher of larger images": 330,
    "mirror images": 242,
    "a last stage on features": 110,
}
"""Most that a step of `resnet10t` may send to a GPU, by what is trained; whoever raises one says why."""

WAITS_AN_EPOCH = 3
"""Beside the training itself: for the metrics of validation, which images are right or an autoencoder's pictures, the
checkpoint."""


@pytest.fixture(scope="module")
def asked(stand_in: StandIn) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.cuda.steps", *OPERATORS, "4", "16", "branches"]
    done = subprocess.run(command, env=stand_in.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", OPERATORS)
def test_no_training_step_waits_for_the_gpu(asked: dict[str, Any], case: str) -> None:
    assert asked[case]["waits"] == []
    assert asked[case]["waits_an_epoch"] <= WAITS_AN_EPOCH


@pytest.mark.parametrize("case", OPERATORS)
def test_a_step_sends_no_more_operators_than_it_is_known_to_need(asked: dict[str, Any], case: str) -> None:
    assert OPERATORS[case] - 12 < asked[case]["operators"] <= OPERATORS[case]


def test_every_alternative_of_a_search_space_trains_on_a_gpu(asked: dict[str, Any]) -> None:
    branches = asked["branches"]
    assert len(branches) > 40
    assert {config: why for config, why in branches.items() if why} == {}


def test_a_stack_of_heads_asks_no_more_for_sixteen_than_for_four(asked: dict[str, Any]) -> None:
    four, sixteen = asked["4"], asked["16"]
    assert four["waits_an_epoch"] == sixteen["waits_an_epoch"] <= 4  # two of them to record the step
    assert sixteen["operators"] - four["operators"] <= 12 * 2  # of five steps: their states, read and written back once

"""Bounds of the numbers in a search space: far beyond what anybody trains with, and near enough to refuse a slip.

A number that no sweep can mean (2^62 epochs, a learning rate of 1e300) is a typing mistake or an attack; it would cost
a night, or overflow somewhere below.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def is_no_truth(value: Any) -> Any:
    """Refuse true and false where a number is wanted, which would count as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"should be a number, got {str(value).lower()}")
    return value


Whole = Annotated[int, BeforeValidator(is_no_truth)]
Real = Annotated[float, BeforeValidator(is_no_truth)]

MOST_TRIALS = 1_000_000
MOST_EPOCHS = 1_000_000
LONGEST_S = 10 * 365 * 86400.0
LARGEST_BATCH = 1 << 20

Trials = Annotated[Whole, Field(ge=1, le=MOST_TRIALS)]
TrialsOrNone = Annotated[Whole, Field(ge=0, le=MOST_TRIALS)]
Epochs = Annotated[Whole, Field(ge=1, le=MOST_EPOCHS)]
EpochsOrNone = Annotated[Whole, Field(ge=0, le=MOST_EPOCHS)]
PartOfEpochs = Annotated[Real, Field(ge=0, le=MOST_EPOCHS)]
Seconds = Annotated[Real, Field(gt=0, le=LONGEST_S)]
Wait = Annotated[Real, Field(ge=1, le=LONGEST_S)]
Images = Annotated[Whole, Field(ge=1, le=1_000_000_000)]
Seed = Annotated[Whole, Field(ge=0, lt=1 << 32)]
BatchSize = Annotated[Whole, Field(ge=1, le=LARGEST_BATCH)]
ImageSide = Annotated[Whole, Field(ge=8, le=4096)]
Width = Annotated[Whole, Field(ge=1, le=65_536)]

LearningRate = Annotated[Real, Field(ge=1e-12, le=1e3)]
LeastRate = Annotated[Real, Field(ge=0, le=1e3)]
RateFactor = Annotated[Real, Field(ge=1e-6, le=1e4)]
Decay = Annotated[Real, Field(ge=0, le=1e3)]
Norm = Annotated[Real, Field(ge=1e-9, le=1e6)]
Divisor = Annotated[Real, Field(ge=1, le=1e9)]
Alpha = Annotated[Real, Field(ge=0, le=100)]
Temperature = Annotated[Real, Field(ge=0.1, le=100)]
Change = Annotated[Real, Field(ge=0, le=1e6)]
Epsilon = Annotated[Real, Field(ge=1e-30, le=1)]

Probability = Annotated[Real, Field(ge=0, le=1)]
Rate = Annotated[Real, Field(ge=0, lt=1)]
Share = Annotated[Real, Field(ge=1e-6, lt=1)]
Fraction = Annotated[Real, Field(ge=1e-6, le=1)]
Beta = Annotated[Real, Field(ge=0, lt=1)]

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: Any) -> Any:
    """Turn `90`, `"45m"`, `"8h"` or `"1d12h"` into seconds."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", value.strip()):
        raise ValueError(f"should be seconds or a duration like 45m, 8h or 1d12h, got {value!r}")
    return sum(float(number) * SECONDS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", value))

"""Predictions as a CSV table: path, class, probability, further classes, reason."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sweeper.predict.predict import Prediction
from sweeper.safeguards.outputs import Kind
from sweeper.safeguards.spreadsheet import table

PREDICTIONS = Kind("table of predictions", re.compile(rb"path,class,probability,(?:class_2,|reason\n)"))


def predictions_csv(predictions: Iterable[Prediction], top: int) -> str:
    """Return a line for every image; one that could not be read has an empty class and the reason.

    With `top` above 1 the columns class_2, probability_2 and so on follow the first.
    """
    more = [f"{name}_{place}" for place in range(2, top + 1) for name in ("class", "probability")]
    header = ["path", "class", "probability", *more, "reason"]
    return table([header, *(_row(prediction, top) for prediction in predictions)])


def _row(prediction: Prediction, top: int) -> list[str]:
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    cells = [cell for name, share in pairs for cell in (name, f"{share:.6f}")]
    return [prediction.image.name, *cells, *[""] * (2 * top - len(cells)), prediction.reason]

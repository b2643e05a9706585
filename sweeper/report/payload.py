"""A study as the page's script takes it: plain JSON, and what is large compressed."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sweeper.config.searched import Drawn, parameters
from sweeper.config.sweep import SweepConfig
from sweeper.report.pictures import ImageFiles, chosen_images, pictures, worst_mistakes
from sweeper.report.records import TrialRecord
from sweeper.report.selection import places
from sweeper.results import TrialRow
from sweeper.safeguards.printable import one_line
from sweeper.scores.calibration_error import reliability
from sweeper.scores.predictions import Ids, Predictions
from sweeper.standings.pareto import in_order

LARGEST_PREDICTIONS = 8_000_000  # bytes, compressed, of all trials together; those of lower rank stay in MLflow
LOGARITHMIC = 30  # ratio of largest to smallest value from which a parameter is drawn on a logarithmic axis
COSTS = {"images_per_s": "images a second in training", "memory/peak_mb": "peak memory (MiB)"}
OWN_COSTS = {"parameters": "parameters", "latency_ms": "latency of one image (ms)"}


def blob(content: bytes) -> str:
    """Return bytes as text that the page inflates when it needs them."""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def trials_payload(
    records: Sequence[TrialRecord], rows: Sequence[TrialRow], sweep: SweepConfig
) -> list[dict[str, Any]]:
    """Return one object a trial shown, with its rank from 1, where it has one, and when it ended, among all `rows`."""
    ranks, ended = _ranks(records, sweep), places(rows)
    return [
        {**_trial(record, ranks.get(record.row.number), sweep.objective.metric), "place": ended.get(record.row.number)}
        for record in records
    ]


def _ranks(records: Sequence[TrialRecord], sweep: SweepConfig) -> dict[int, int]:
    order = in_order([record.row for record in records], sweep)
    return {row.number: rank for rank, row in enumerate(order, 1)}


def _trial(record: TrialRecord, rank: int | None, metric: str) -> dict[str, Any]:
    row = record.row
    metrics = {name: value for name, value in (record.metrics or {}).items() if math.isfinite(value)}
    costs = {title: metrics[name] for name, title in COSTS.items() if name in metrics}
    if row.outcome is not None:
        costs |= {OWN_COSTS[name]: value for name, value in row.outcome.costs.items() if name in OWN_COSTS}
    if record.weights is not None:
        costs["size of the weights (MB)"] = record.weights / 1e6
    if row.seconds is not None:
        costs["training seconds"] = row.seconds
    best = {key.removeprefix("best/"): value for key, value in metrics.items() if key.startswith("best/val/")}
    return {
        "number": row.number,
        "rank": rank,
        "state": row.state.value,
        "value": row.value,
        "bestEpoch": row.best_epoch,
        "reachedIn": row.reached_in,
        "epochs": row.epochs,
        "folds": [fold.value for fold in row.outcome.folds] if row.outcome else [],
        "spread": row.outcome.spread if row.outcome else None,
        "seconds": row.seconds,
        "ended": row.ended_ms,
        "reason": row.reason or "",
        "run": record.run.id if record.run else None,
        "params": row.params,
        "costs": costs,
        "scores": best,
        "curves": {
            name if name != metric else "objective": curve_payload(curve) for name, curve in record.curves.items()
        },
    }


def curve_payload(curve: Mapping[int, float]) -> list[float | None]:
    """Return the values of epochs 1 to the last, to four digits."""
    last = max(curve, default=0)
    return [_digits(curve[epoch]) if epoch in curve else None for epoch in range(1, last + 1)]


def _digits(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def params_payload(rows: Sequence[TrialRow], sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return each searched parameter that a trial has: a choice, or numbers and how their axis is drawn."""
    drawn = dict(parameters(sweep.search))
    names = dict.fromkeys(name for row in rows for name in row.params)
    return [_param(name, [row.params[name] for row in rows if name in row.params], drawn.get(name)) for name in names]


def _param(name: str, values: Sequence[Any], drawn: Drawn | None) -> dict[str, Any]:
    """Describe a parameter by what it is drawn from; one of an earlier search space by the values it has had."""
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if isinstance(drawn, tuple) or not numeric:
        known = drawn if isinstance(drawn, tuple) else ()
        options = [*known, *sorted({value for value in values if value not in known}, key=str)]
        return {"name": name, "kind": "category", "numeric": numeric, "values": options}
    low, high = min(values), max(values)
    log = low > 0 and high / low >= LOGARITHMIC if drawn is None else bool(drawn.log)
    whole = all(isinstance(value, int) for value in values)
    return {"name": name, "kind": "number", "numeric": True, "log": log, "whole": whole}


def images_payload(
    records: Sequence[TrialRecord], sweep: SweepConfig, classes: int, find: Callable[[Ids], ImageFiles]
) -> dict[str, Any]:
    """Return what trials say about the validation images: predictions, mistakes, calibration, pictures.

    `find` looks up the files of images by their ids.
    Predictions are differences to the true class, mod the number of classes: mostly 0, and so compress.
    """
    told = _told(records, sweep)
    if not told:
        return {"count": 0, "trials": {}, "pictures": {}}
    first = next(iter(told.values()))
    leaders = list(told.values())
    shown = chosen_images(leaders, leaders, classes)
    files = find(first.images)
    return {
        "count": len(first),
        "wide": classes > 256,
        "labels": blob(packed(first.labels, classes)),
        "names": blob("\n".join(map(one_line, files.paths)).encode()),
        "trials": dict(_within_bounds(told, classes)),
        "pictures": pictures(files, shown),
    }


def _told(records: Sequence[TrialRecord], sweep: SweepConfig) -> dict[int, Predictions]:
    """Return the predictions that the page holds: of the images of the first of the trials as they are ranked."""
    ranks = _ranks(records, sweep)
    known = sorted(records, key=lambda record: ranks.get(record.row.number, len(records) + 1))
    return comparable([(record.row.number, record.predictions) for record in known if record.predictions is not None])


def comparable(predictions: Iterable[tuple[int, Predictions]]) -> dict[int, Predictions]:
    """Keep those of the same images as the first."""
    kept: dict[int, Predictions] = {}
    for number, found in predictions:
        first = next(iter(kept.values()), found)
        if np.array_equal(first.images, found.images):
            kept[number] = found
    return kept


def packed(numbers: Any, classes: int) -> bytes:
    """Return class numbers as bytes, or as pairs of them where there are more than 256 classes."""
    return bytes(numbers.astype("<u2" if classes > 256 else "u1").tobytes())


def _within_bounds(told: Mapping[int, Predictions], classes: int) -> Iterable[tuple[str, dict[str, Any]]]:
    size = 0
    for number, predictions in told.items():
        found = blob(packed((predictions.predicted - predictions.labels) % classes, classes))
        size += len(found)
        content = {"off": found} if size <= LARGEST_PREDICTIONS else {}
        yield str(number), {**content, **_judged(predictions)}


def _judged(predictions: Predictions) -> dict[str, Any]:
    found = reliability(predictions.probabilities[:, 0], predictions.right)
    worst = worst_mistakes(predictions)
    return {
        "error": round(found.error, 5),
        "bins": [found.counts.tolist(), found.confidence.round(4).tolist(), found.accuracy.round(4).tolist()],
        "worst": [
            [image, round(float(predictions.probabilities[image, 0]), 4), round(float(predictions.true[image]), 4)]
            for image in worst
        ],
    }


def confusions_payload(records: Sequence[TrialRecord], sweep: SweepConfig, classes: int) -> dict[str, list[list[int]]]:
    """Return the matrices of trials whose predictions the page does not hold, as triples of true, predicted, images.

    Such as kept none, or were pruned when some folds of the images had been validated.
    """
    found: dict[str, list[list[int]]] = {}
    told = _told(records, sweep)
    for record in records:
        own = record.predictions
        matrix = record.confusion if own is None else own.confusion(classes)
        if matrix is not None and record.row.number not in told:
            true, predicted = np.nonzero(matrix)
            found[str(record.row.number)] = np.stack([true, predicted, matrix[true, predicted]], axis=1).tolist()
    return found

"""Cross-validate a trial: train it once for each fold without that fold, then once on all images.

Each training has a folder of its own within that of the trial, and its own checkpoint. What it has left when it ended
is all that the trial goes on from: after a crash those that have ended are read, and the one that was cut short goes on
after its last epoch. The worker of a trial takes its folds one after the other. Workers without a trial may train later
folds meanwhile; a lock on each fold keeps two workers from the same one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import fsum

import numpy as np

from sweeper.config.sweep import ObjectiveConfig
from sweeper.errors import DamagedFile
from sweeper.files import file_lock, write_sealed
from sweeper.paths import BEST_CONFUSION, TrialFolder
from sweeper.results import (
    EpochMetrics,
    FoldScore,
    Refit,
    TrialOutcome,
    TrialSpec,
    TrialState,
    read_history,
    read_outcome,
    write_history,
)
from sweeper.scores.confusion import read_confusion, write_confusion
from sweeper.scores.predictions import Ids, Predictions, read_predictions, write_predictions
from sweeper.scores.right import as_bits, write_right
from sweeper.training.checkpoint import remove_checkpoints
from sweeper.training.conditions import Conditions
from sweeper.training.trainer import OnEpoch, train

FOLD_SEEDS = 5
"""Apart from all other things that a trial draws by its seed."""


@dataclass(frozen=True)
class Folds:
    """What a trial is cross-validated on.

    Attributes:
        number: How many folds there are.
        images: The names of all images in them, `image_ids`, in the order of the data set.
        metric: Of the objective.
        without: Gives the conditions of training without a fold, counted from 1, which validates.
        whole: Gives those of training on all folds; the first one validates, and tells nothing.
        at_work: Called after each epoch of a fold.
    """

    number: int
    images: Ids
    metric: str
    without: Callable[[int], Conditions]
    whole: Callable[[], Conditions]
    at_work: Callable[[], None] = lambda: None


class LastEpoch(ObjectiveConfig):
    """Takes every epoch for the best so far, so that the weights of the last one are kept."""

    def better(self, value: float, than: float | None) -> bool:  # noqa: ARG002
        return True


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of the training that is judged by a fold."""
    return int(np.random.SeedSequence([seed, fold, FOLD_SEEDS]).generate_state(1)[0])


def cross_validate(spec: TrialSpec, folder: TrialFolder, folds: Folds, on_fold: OnEpoch) -> TrialOutcome:
    """Train a trial on its folds and on all of them, from wherever it was interrupted.

    `on_fold` gets the means over the folds so far after each of them, those of an earlier attempt again first, and
    answers whether to prune. A fold that fails, or does not fit in memory, ends the trial in the same way. A trial that
    is pruned is not trained on all images and leaves no weights.
    """
    ended: list[TrialOutcome] = []
    history: list[EpochMetrics] = []
    for number in range(1, folds.number + 1):
        outcome = train_fold(spec, folder, folds, number)
        if outcome.best_epoch is None:
            return _failed(outcome, f"fold {number}", ended)
        ended.append(outcome)
        after_ms = history[-1].timestamp_ms if history else 0
        history.append(_means(ended, folder.fold(number), folds.metric, after_ms))
        write_history(folder.history, history)
        if on_fold(history[-1]):
            _leave_predictions(folder, ended, folds.images)
            return _outcome(TrialState.PRUNED, ended)
    last = max(1, round(fsum(outcome.best_epoch or 0 for outcome in ended) / len(ended)))
    conditions = folds.whole()
    on_all = replace(
        conditions, patience=None, objective=LastEpoch(metric=conditions.objective.metric), at_work=folds.at_work
    )
    refit = _train_apart(spec.model_copy(update={"pause_after": last}), folder.refit, lambda: on_all)
    if refit.best_epoch is None:
        return _failed(refit, "on all images", ended)
    _take_weights(folder)
    _leave_predictions(folder, ended, folds.images)
    return _outcome(TrialState.COMPLETE, ended, refit)


def train_fold(spec: TrialSpec, folder: TrialFolder, folds: Folds, number: int) -> TrialOutcome:
    """Train a trial without one of its folds, or return how that ended before; wait for a worker that is at it."""
    own = spec.model_copy(update={"seed": fold_seed(spec.seed, number), "keep_optimizer": False})
    part = folder.fold(number)
    with file_lock(part.lock, blocking=True):  # silently: that one may hang
        outcome = _train_apart(own, part, lambda: replace(folds.without(number), latency=False, at_work=folds.at_work))
        shutil.rmtree(part.weights, ignore_errors=True)  # nobody uses the network of one fold
    return outcome


def _train_apart(spec: TrialSpec, part: TrialFolder, given: Callable[[], Conditions]) -> TrialOutcome:
    """Train in a folder of its own, or return how that ended before; each epoch is a sign of life, and no more."""
    if part.outcome.exists():
        try:
            return read_outcome(part.outcome)
        except DamagedFile:
            part.outcome.unlink()
    part.path.mkdir(parents=True, exist_ok=True)
    if not part.spec.exists():
        write_sealed(part.spec, spec.model_dump_json())
    conditions = given()

    def never_prune(_: EpochMetrics) -> bool:
        conditions.at_work()
        return False

    outcome = train(spec, part, conditions, never_prune)
    if outcome.best_epoch is not None:  # else it may be for the device, and is tried again where the trial is
        write_sealed(part.outcome, outcome.model_dump_json())
        remove_checkpoints(part)
    return outcome


def _means(ended: Sequence[TrialOutcome], part: TrialFolder, objective: str, after_ms: int) -> EpochMetrics:
    """Return the means over the folds so far, as metrics of the last of them, which `part` has left.

    They come after those of `after_ms`, though this fold may have been trained ahead, by another worker.
    """
    last = ended[-1]
    epochs = read_history(part.history)
    own = {f"fold/{objective}": last.best_metrics[objective], "fold/best_epoch": float(last.best_epoch or 0)}
    costs = {
        "time/fold_s": last.seconds,
        "images_per_s": epochs[-1].values["images_per_s"],
        "memory/peak_mb": max(metrics.values["memory/peak_mb"] for metrics in epochs),
    }
    values = {**_mean_metrics(ended), **own, **costs}
    return EpochMetrics(epoch=len(ended), values=values, timestamp_ms=max(last.timestamp_ms, after_ms + 1))


def _mean_metrics(ended: Sequence[TrialOutcome]) -> dict[str, float]:
    names = ended[0].best_metrics
    return {name: fsum(outcome.best_metrics[name] for outcome in ended) / len(ended) for name in names}


def _outcome(state: TrialState, ended: Sequence[TrialOutcome], refit: TrialOutcome | None = None) -> TrialOutcome:
    """Return how a trial has ended: on the average of its folds."""
    trained, last = [*ended, refit] if refit else list(ended), refit or ended[-1]
    scores = tuple(
        FoldScore(value=fold.best_value, best_epoch=fold.best_epoch, epochs=fold.epochs, seconds=fold.seconds)
        for fold in ended
        if fold.best_value is not None and fold.best_epoch is not None
    )
    return last.model_copy(
        update={
            "state": state,
            "reason": None,
            "epochs": len(ended),
            "best_epoch": len(ended),
            "best_value": fsum(score.value for score in scores) / len(scores),
            "best_metrics": _mean_metrics(ended),
            "seconds": fsum(outcome.seconds for outcome in trained),
            "folds": scores,
            "refit": Refit(epochs=refit.epochs, metrics=refit.best_metrics) if refit else None,
        }
    )


def _failed(outcome: TrialOutcome, where: str, ended: Sequence[TrialOutcome]) -> TrialOutcome:
    """Return how a trial ends one of whose trainings did: without a score, and named by the place."""
    return outcome.model_copy(
        update={
            "reason": f"{where}: {outcome.reason}",
            "epochs": len(ended),
            "seconds": fsum(one.seconds for one in (*ended, outcome)),
        }
    )


def _take_weights(folder: TrialFolder) -> None:
    """Make the weights of the training on all images those of the trial."""
    folder.weights.mkdir(parents=True, exist_ok=True)
    for file in folder.refit.weights.glob("*"):
        file.replace(folder.weights / file.name)


def _leave_predictions(folder: TrialFolder, ended: Sequence[TrialOutcome], images: Ids) -> None:
    """Leave what is said about every image by the network that had not seen it: predictions and confusion matrix."""
    parts = [(folder.fold(number), outcome.best_epoch or 0) for number, outcome in enumerate(ended, 1)]
    matrices = [read_confusion(part.confusion / BEST_CONFUSION) for part, _ in parts]
    write_confusion(
        folder.confusion / BEST_CONFUSION, np.sum([matrix for matrix, _ in matrices], axis=0), matrices[0][1]
    )
    files = [part.predictions_of(epoch) for part, epoch in parts]
    if not all(file.exists() for file in files):  # where images have no names
        return
    whole = _in_order([read_predictions(file) for file in files], images)
    write_predictions(folder.predictions_of(len(ended)), whole)
    if len(whole) == len(images):
        write_right(folder.right, whole.images, [as_bits(whole.predicted, whole.labels)])


def _in_order(parts: Sequence[Predictions], images: Ids) -> Predictions:
    """Put the predictions of folds together, in the order in which the data set has its images."""
    columns = ("images", "labels", "classes", "probabilities", "true")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    by_name = np.argsort(images)
    places = by_name[np.searchsorted(images[by_name], joined["images"])]
    order = np.argsort(places)
    return Predictions(**{name: values[order] for name, values in joined.items()})

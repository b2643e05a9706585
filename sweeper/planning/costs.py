"""How long a study takes and what it leaves on disk, foretold from a few steps of each network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from sweeper.config.pruner import NoPrunerConfig, PromoteConfig
from sweeper.config.searched import largest, options, smallest
from sweeper.config.sweep import SweepConfig
from sweeper.planning.step import Measured
from sweeper.search.untried import trials_of
from sweeper.study.preparation import decoded_sizes

FORWARD = 1 / 3
"""What an image costs in validation, of what it costs in a training step: forward, without backward."""

PRUNED = 0.5
"""The share of all epochs that is trained where trials end early: about what docs/pruning.md measured."""

EPOCH_S, TRIAL_S = 0.05, 0.5
"""What an epoch on stored features takes beside its steps, and a trial beside its epochs, on two cores of a CPU."""

WEIGHT_BYTES = 4
JOULES_OF_A_KWH = 3.6e6
CHECKPOINT = 3  # times the weights: with what an optimizer keeps of each


@dataclass(frozen=True)
class Costs:
    """What a study costs, as far as a moment of each network can tell.

    Attributes:
        epoch_s: Of one trial, the mean over networks and batch sizes.
        features_s: Of computing what frozen backbones make of the images, once.
        trials: That the budget allows; by its time where that alone limits them.
        whole_s: The search, were every trial trained to its last epoch.
        pruned_s: The search where trials end early; None without a pruner.
        limit_s: After which the budget ends the search.
        images_bytes: Of decoded images, shared by all studies of the same data set.
        features_bytes: Of frozen backbones.
        weights_bytes: Of the best weights of all trials, in MLflow.
        checkpoint_bytes: Of the trials that run or are paused, until they end.
        free_bytes: On the disk of the working directory.
        watts: Of all that `powered` names; None where nothing tells its power.
        powered: `GPUs`, `processors`, or both.
    """

    epoch_s: float
    features_s: float
    trials: int
    whole_s: float
    pruned_s: float | None
    limit_s: float | None
    images_bytes: int
    features_bytes: int
    weights_bytes: int
    checkpoint_bytes: int
    free_bytes: int
    watts: float | None = None
    powered: str = ""

    @property
    def whole_kwh(self) -> float | None:
        return self._kwh(self.whole_s)

    @property
    def pruned_kwh(self) -> float | None:
        return self._kwh(self.pruned_s)

    @property
    def limit_kwh(self) -> float | None:
        return self._kwh(self.limit_s)

    def _kwh(self, seconds: float | None) -> float | None:
        return None if self.watts is None or seconds is None else self.watts * seconds / JOULES_OF_A_KWH

    @property
    def disk_bytes(self) -> int:
        return self.images_bytes + self.features_bytes + self.weights_bytes + self.checkpoint_bytes


@dataclass(frozen=True)
class Images:
    """How many images there are: all, for training, for validation."""

    all: int
    train: int
    val: int


def costs_of(
    sweep: SweepConfig,
    measured: Sequence[Measured],
    images: Images,
    workers: int,
    free_bytes: int,
    *,
    gpus: int = 0,
    at_speed: int | None = None,
) -> Costs:
    """Foretell what a study costs; `measured` is not empty, and workers share as many `gpus`.

    `at_speed` of the workers train at once as fast as was measured, by default all.
    """
    at_once = at_speed or workers
    watts = _watts(measured, min(workers, gpus))
    epoch_s = mean(_epoch_s(sweep, one, images) for one in measured)
    kept = {one: _features(one, images, sweep) for one in _largest_batches(measured)}
    once_s = sum(rows / one.images_per_s for one, rows in kept.items())
    trainings = sweep.dataset.folds + 1 if sweep.dataset.folds else 1  # the last one on all images
    trial_s = TRIAL_S + epoch_s * sweep.budget.epochs * trainings
    share = None if isinstance(sweep.pruner, NoPrunerConfig) else PRUNED
    limit_s = sweep.budget.time or sweep.budget.timeout
    planned = fitting = trials_of(sweep)
    if limit_s is not None:
        fitting = min(planned, max(1, int(limit_s * at_once / (trial_s * (share or 1)))))
    trials = fitting if sweep.budget.open_ended else planned
    averaged = largest(sweep.search.epoch_soup)
    leading = averaged + 1 if averaged > 1 else 0  # one more, of the checkpoint before
    paused = fitting - int(sweep.pruner.keep * fitting) if isinstance(sweep.pruner, PromoteConfig) else 0
    unfinished = min(fitting, workers + paused) if paused else workers
    weights = mean(one.parameters for one in measured) * WEIGHT_BYTES
    trained = mean(_in_checkpoint(one) for one in measured) * WEIGHT_BYTES
    return Costs(
        epoch_s=epoch_s,
        features_s=once_s,
        trials=trials,
        whole_s=once_s + trials * trial_s / at_once,
        pruned_s=None if share is None else once_s + share * trials * trial_s / at_once,
        limit_s=limit_s,
        images_bytes=images.all * 3 * sum(size**2 for size in decoded_sizes(sweep)),
        features_bytes=sum(rows * one.feature_bytes for one, rows in kept.items()),
        weights_bytes=int(fitting * weights * (1 + 2 * sweep.keep_optimizer)),
        checkpoint_bytes=int(unfinished * trained * (CHECKPOINT + leading)),
        free_bytes=free_bytes,
        watts=sum(watts.values()) if watts else None,
        powered=" and ".join(watts),
    )


def _watts(measured: Sequence[Measured], gpus: int) -> dict[str, float]:
    """Return the mean power over the networks of what tells it: all GPUs, the processors as one worker uses them."""
    known = {
        "GPUs": [gpus * one.power.gpu for one in measured if one.power.gpu is not None],
        "processors": [one.power.processors for one in measured if one.power.processors is not None],
    }
    return {what: mean(watts) for what, watts in known.items() if watts}


def _epoch_s(sweep: SweepConfig, one: Measured, images: Images) -> float:
    looks = 1 + mean(_mirrored(sweep))
    forward = FORWARD * looks
    if one.views:
        return EPOCH_S + ((images.train + forward * images.val) / one.learned_per_s if one.learned_per_s else 0.0)
    sides = smallest(sweep.search.image_size), largest(sweep.search.image_size)
    area = (sides[0] ** 2 + sides[1] ** 2) / (2 * one.image_size**2)
    forward = looks if one.trainable == "head" else forward
    return area * (images.train + forward * images.val) / one.images_per_s


def _in_checkpoint(one: Measured) -> float:
    """Return for how many parameters a checkpoint has all that CHECKPOINT counts; a head is next to nothing."""
    return one.learned * (1 + 1 / CHECKPOINT) if one.views else one.parameters  # on features, the best weights too


def _mirrored(sweep: SweepConfig) -> list[bool]:
    """Return of each option of a trial's answers whether a validation image is seen mirrored, too."""
    return [option == "flip" for option in options(sweep.search.test_time_augmentation)]


def _features(one: Measured, images: Images, sweep: SweepConfig) -> int:
    """Return of how many images, with all their views, features are kept: for each fold and for all images anew."""
    if not one.views:
        return 0
    mirrored = any(_mirrored(sweep))
    if folds := sweep.dataset.folds:
        return (images.train + images.val) * (folds * one.views + 1 + mirrored)
    return images.train * one.views + images.val * (1 + mirrored)


def _largest_batches(measured: Sequence[Measured]) -> list[Measured]:
    """Return of each network the measurement with the largest batch."""
    found: dict[tuple[str, str], Measured] = {}
    for one in sorted(measured, key=lambda one: one.batch_size):
        found[one.backbone, one.trainable] = one
    return list(found.values())

"""`ExportInput`: all that an export takes from a finished trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from sweeper.config.bounds import Probability
from sweeper.config.frozen import Frozen
from sweeper.config.hyperparameters import HeadConfig, TestTimeAugmentation, TrialConfig
from sweeper.data.decode import FULL_DEPTH, Depth, Resize
from sweeper.scores.expected_accuracy import ExpectedAccuracy
from sweeper.scores.predictions import Predictions

ACCURACY = "val/accuracy"
"""The logged metric that every format must reproduce."""


class Training(Frozen):
    """The kind of device a trial was trained and validated on, and the precision there."""

    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    on_features: bool = False
    """Validated on stored features: the backbone had seen the images in batches of another size."""
    threads: int | None = None
    """Of the CPU, by whose number it parts its sums; None where nobody knows, and on a GPU."""
    devices: int = 1
    """That shared each batch."""


class CrossValidation(Frozen):
    """How the accuracy of a cross-validated trial was measured, and its weights were made.

    Each image was predicted by a network that was trained without its fold. The weights are those of another training,
    on all `images` for `epochs`; their `seen_accuracy` on the first fold, which it has seen, is only good to recognise
    them by. `spread` is the standard deviation of the folds' objective.
    """

    folds: PositiveInt
    images: PositiveInt
    spread: float | None
    epochs: PositiveInt
    seen_accuracy: Probability


MergeKind = Literal["soup", "ensemble"]
Form = Literal["single", "soup", "ensemble"]


class MergedTrial(Frozen):
    """A trial whose weights are part of an export of several."""

    trial: int
    run_id: str | None
    architecture: str
    head: HeadConfig
    test_time_augmentation: TestTimeAugmentation = "none"


class MergeTry(Frozen):
    """An attempt to do better than the winner with the weights of several leaders.

    Of the trials `considered`, `members` were chosen on one half of the validation split. On the other half,
    `judged_on` images, it labels `gained` images rightly that the winner does not, and `lost` the other way
    round; `p` is the chance of that or more if it were no better (McNemar's exact test).
    """

    kind: MergeKind
    considered: tuple[int, ...]
    members: tuple[int, ...]
    judged_on: int
    winner_accuracy: float
    accuracy: float
    gained: int
    lost: int
    p: float
    kept: bool = False


@dataclass(frozen=True)
class ExportInput:
    """A finished trial: its weights, and what must be known to use and to judge them.

    `dataset` is a data set card as plain JSON (`name`, `digest`, `images` of each split). `metrics`
    are those logged for the best epoch, for the average of some, or means over the folds, ACCURACY among them. Images
    were decoded to squares of `stored_size` pixels by the rule `resize`, those with more than 8 bits read by `depth`;
    the trial's `image_size` is what the network takes. Of a soup or an ensemble the trial is the winner; weights and
    metrics are those of all its `members` together.
    """

    study: str
    trial: int
    config: TrialConfig
    classes: tuple[str, ...]
    weights: Path
    metrics: Mapping[str, float]
    best_epoch: int
    dataset: Mapping[str, Any]
    stored_size: int
    resize: Resize
    training: Training
    model_files: tuple[Path, ...] = ()
    run_id: str | None = None
    study_id: str | None = None
    """None of a study that an earlier version of sweeper began."""
    model_name: str | None = None
    """What the model is called in a registry, where that is not the study's name."""
    depth: Depth = FULL_DEPTH
    form: Form = "single"
    members: tuple[MergedTrial, ...] = ()
    merges: tuple[MergeTry, ...] = ()
    expected: ExpectedAccuracy | None = None
    """What the best trial of its study reaches on new images, where this is it and that is known."""
    averaged_epochs: tuple[int, ...] = ()
    """Those of the trial whose weights are averaged, where it is not the best one alone."""
    cross_validation: CrossValidation | None = None
    out_of_fold: Predictions | None = None
    """Of a cross-validated trial, what is said about each image by the network that had not seen it."""

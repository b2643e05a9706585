"""One pass over a split: loss, accuracies, macro scores and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from sweeper.data.batches import Batch
from sweeper.modeling.classifier import mean_of_probabilities
from sweeper.scores.confusion import Confusion
from sweeper.scores.metrics import ClassificationMetrics
from sweeper.training.device import autocast
from sweeper.training.micro_batch import MicroBatches, Parts
from sweeper.training.ranks import ALONE, Ranks
from sweeper.training.top_classes import TopClasses

Forwarded = Callable[[torch.Tensor], torch.Tensor]
"""A network, or what computes the same."""

if TYPE_CHECKING:
    from sweeper.modeling.formats import Predict  # which imports onnxruntime


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split, its confusion matrix [C, C] (rows true, columns predicted), each image's top classes."""

    values: dict[str, float]
    confusion: Confusion
    top: TopClasses | None = None


def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    classes: int,
    device: torch.device,
    micro_batches: MicroBatches | None = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Evaluate a network in inference mode, the way a trial is validated. Raises DoesNotFit."""
    network.eval()
    predict = predictor(network, device, micro_batches or MicroBatches(device), ranks)
    return evaluate_predictions(predict, batches, classes, device)


def predictor(network: Forwarded, device: torch.device, micro_batches: MicroBatches, ranks: Ranks = ALONE) -> Predict:
    """Return what puts inputs [B, ...] through a network, in parts that fit, and gives float32 [B, ...].

    Of several ranks each puts its share through the network, and gets the outputs of all.
    """

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        mine = inputs[ranks.share(len(inputs))]

        def attempt(cut: Parts) -> torch.Tensor:
            with autocast(device):
                return torch.cat([network(mine[part]).float() for part in cut])

        outputs = micro_batches.fit("evaluation", len(mine), attempt, rewind=lambda: None)
        return ranks.gathered(outputs, len(inputs))

    return predict


def answer(predict: Forwarded, batch: Batch) -> torch.Tensor:
    """Return what comes of the inputs of a batch, or the mean of that and what comes of their mirror images."""
    logits = predict(batch.inputs)
    return logits if batch.mirror is None else mean_of_probabilities(logits, predict(batch.mirror))


@torch.inference_mode()
def evaluate_predictions(predict: Predict, batches: Iterable[Batch], classes: int, device: torch.device) -> Evaluation:
    """Evaluate anything that turns the inputs of batches into logits [B, C]."""
    metrics, tops = ClassificationMetrics(classes, device), []
    for batch in batches:
        logits = answer(predict, batch)
        metrics.update(logits, batch.labels, functional.cross_entropy(logits, batch.labels, reduction="none"))
        tops.append(TopClasses.of(logits, batch.labels))
    values, confusion = metrics.compute_all()
    return Evaluation(values, confusion, TopClasses.joined(tops))

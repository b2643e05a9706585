"""One pass over a split: loss, accuracies, macro scores and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional

from sweeper.confusion import Confusion
from sweeper.data.batches import Batch, DeviceImages
from sweeper.metrics import ClassificationMetrics
from sweeper.modeling.classifier import Classifier
from sweeper.training.device import autocast
from sweeper.training.micro_batch import MicroBatches, Parts

Predict = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split and its confusion matrix [C, C]: rows true, columns predicted."""

    values: dict[str, float]
    confusion: Confusion


def evaluate(
    model: Classifier,
    images: DeviceImages,
    *,
    classes: int,
    batch_size: int,
    image_size: int,
    device: torch.device,
    micro_batches: MicroBatches | None = None,
) -> Evaluation:
    """Evaluate a classifier in inference mode, the way a trial is validated. Raises DoesNotFit."""
    model.eval()
    sizes = micro_batches or MicroBatches(device)

    def predict(batch: torch.Tensor) -> torch.Tensor:
        def attempt(cut: Parts) -> torch.Tensor:
            with autocast(device):
                return torch.cat([model(batch[part]).float() for part in cut])

        return sizes.fit("evaluation", len(batch), attempt, rewind=lambda: None)

    batches = images.eval_batches(batch_size, image_size, model.mean, model.std)
    return evaluate_predictions(predict, batches, classes, device)


@torch.inference_mode()
def evaluate_predictions(predict: Predict, batches: Iterable[Batch], classes: int, device: torch.device) -> Evaluation:
    """Evaluate anything that turns normalised images [B, 3, S, S] into logits [B, C]."""
    metrics = ClassificationMetrics(classes, device)
    for batch in batches:
        logits = predict(batch.images)
        metrics.update(logits, batch.labels, functional.cross_entropy(logits, batch.labels, reduction="none"))
    return Evaluation(dict(metrics.compute()), metrics.confusion())

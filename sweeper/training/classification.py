"""The task of naming the class of every image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import Batch
from sweeper.modeling.backbones import Backbone
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.paths import TrialFolder
from sweeper.scores.confusion import write_confusion
from sweeper.scores.metrics import ClassificationMetrics
from sweeper.training.evaluate import evaluate
from sweeper.training.loss import Loss
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import ALONE, Ranks
from sweeper.training.task import Exhibit, Validation


@dataclass(frozen=True)
class ClassificationMeter:
    """Counts the scores of a training pass."""

    metrics: ClassificationMetrics

    def reset(self) -> None:
        self.metrics.reset()

    def update(self, outputs: Tensor, batch: Batch, losses: Tensor) -> None:
        self.metrics.update(outputs, batch.labels, losses)

    def compute(self) -> dict[str, float]:
        return self.metrics.compute()


@dataclass(frozen=True)
class Classification:
    """Outputs are logits [B, C]; an exhibit is a confusion matrix [C, C], rows true, columns predicted."""

    classes: tuple[str, ...]
    loss: Loss

    def build(self, config: TrialConfig, backbone: Backbone | None = None) -> Classifier:
        return build_classifier(config, len(self.classes), backbone=backbone)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.loss(outputs, batch)

    def meter(self, device: torch.device) -> ClassificationMeter:
        return ClassificationMeter(ClassificationMetrics(len(self.classes), device))

    def validate(
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        device: torch.device,
        micro_batches: MicroBatches,
        ranks: Ranks = ALONE,
    ) -> Validation:
        classes = len(self.classes)
        found = evaluate(network, batches, classes=classes, device=device, micro_batches=micro_batches, ranks=ranks)
        return Validation(found.values, found.confusion, found.top)

    def shows(self, epoch: int) -> bool:  # noqa: ARG002 (of a task that shows some epochs)
        return False

    def keep(self, exhibit: Exhibit, name: str, folder: TrialFolder) -> None:
        write_confusion(folder.confusion / f"{name}.csv", exhibit, self.classes)

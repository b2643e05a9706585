"""Learning from a trained classifier, the teacher, beside the labels (Hinton et al., arXiv 1503.02531).

The teacher answers for the very images that its student sees, augmented and mixed as these are: a consistent teacher
(Beyer et al., arXiv 2106.05237). It has a size and a normalisation of its own, to which they are brought on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor
from torch.nn import functional

from sweeper.config.hyperparameters import DistillationConfig, NoTeacherConfig
from sweeper.data.batches import Batch
from sweeper.data.transfer import to_device
from sweeper.errors import ModelError
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.ensemble import AnyClassifier, Ensemble
from sweeper.modeling.weights import read_weights
from sweeper.results import Teacher, TrialSpec
from sweeper.training.convolution import small_maps
from sweeper.training.device import place
from sweeper.training.gradients import Losses
from sweeper.training.inputs import Network

KEPT_TEACHERS = 1


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained classifier in evaluation mode on the device; `image_size` is the side of the images it learned from."""

    network: AnyClassifier
    image_size: int


class Teachers:
    """Gives trials the networks that they learn from; keeps the last one between trials.

    Args:
        device: Where trials run.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._kept: LRUCache[Teacher, TeacherNetwork] = LRUCache(KEPT_TEACHERS)

    def of(self, spec: TrialSpec) -> TeacherNetwork | None:
        """Return the teacher of a trial, loaded already where possible; None for one without. Raises ModelError."""
        if not isinstance(spec.config.teacher, DistillationConfig):
            return None
        if spec.teacher is None:
            raise ModelError(f"the trial has not been given the weights of its teacher, {spec.config.teacher.name}")
        if spec.teacher not in self._kept:
            self._kept[spec.teacher] = _loaded(spec.teacher, self._device)
        return self._kept[spec.teacher]

    def drop(self) -> bool:
        """Keep nothing for later trials, and return whether anything was kept; what a trial uses it still holds."""
        kept = bool(self._kept)
        self._kept.clear()
        return kept


def _loaded(teacher: Teacher, device: torch.device) -> TeacherNetwork:
    members = [build_classifier(network, teacher.classes, load_weights=False) for network in teacher.networks]
    network = members[0] if len(members) == 1 else Ensemble(members)
    try:
        network.load_state_dict(read_weights(Path(teacher.weights)))
    except RuntimeError as error:  # torch's word for keys or shapes that differ
        names = ", ".join(member.backbone for member in teacher.networks)
        raise ModelError(f"{teacher.weights} does not fit the teacher, {names}: {error}") from error
    place(network.requires_grad_(False).eval(), device)
    return TeacherNetwork(network, teacher.networks[0].image_size)


@dataclass(frozen=True)
class View:
    """Brings images as a student gets them, float32 [B, 3, H, H], to the size and the normalisation of its teacher.

    Pixels (x * std + mean) of the student become (pixel - mean) / std of the teacher: one scale and one shift, float32
    [1, 3, 1, 1] on the device.
    """

    image_size: int
    scale: Tensor
    shift: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            images = functional.interpolate(images, size, mode="bicubic", antialias=True)
        return torch.addcmul(self.shift, images, self.scale)


def view_of(teacher: TeacherNetwork, student: Network, device: torch.device) -> View:
    """Return how a teacher sees the images that were normalised for its student."""
    network = teacher.network
    mean, std = np.array(student.mean), np.array(student.std)
    scale, shift = std / np.array(network.std), (mean - np.array(network.mean)) / np.array(network.std)
    rows = (row.reshape(1, -1, 1, 1).astype(np.float32) for row in (scale, shift))
    return View(teacher.image_size, *(to_device(row, device) for row in rows))


@dataclass(frozen=True)
class DistilledLoss:
    """Gives (1 - weight) * loss by the labels + weight * T^2 * KL(teacher || student) of each image of a batch.

    Both distributions are softmax(scores / T). The factor T^2 keeps the size of the gradients, which fall as 1 / T^2
    (Hinton et al., arXiv 1503.02531, section 2).
    """

    of_labels: Losses
    teacher: TeacherNetwork
    view: View
    temperature: float
    weight: float

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the losses, float32 [B], of logits [B, C] by labels and teacher."""
        with torch.no_grad(), small_maps(logits.device):
            told = self.teacher.network(self.view(batch.inputs)).float()
        wanted, got = ((scores / self.temperature).log_softmax(1) for scores in (told, logits))
        apart = functional.kl_div(got, wanted, reduction="none", log_target=True).sum(1)
        return torch.lerp(self.of_labels(logits, batch), self.temperature**2 * apart, self.weight)


def taught(
    of_labels: Losses,
    config: NoTeacherConfig | DistillationConfig,
    teacher: TeacherNetwork | None,
    student: Network,
    device: torch.device,
) -> Losses:
    """Return what a trial lowers: the loss by the labels, and where it has a teacher by what that one says as well."""
    if teacher is None or isinstance(config, NoTeacherConfig):
        return of_labels
    view = view_of(teacher, student, device)
    return DistilledLoss(of_labels, teacher, view, config.temperature, config.weight)

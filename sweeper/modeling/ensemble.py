"""Several classifiers that answer as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.weights import read_weights


class Ensemble(nn.Module):
    """Scores the classes of images [B, 3, S, S] by the mean of its members' probabilities.

    Gives the logarithm of that mean, [B, C], so that a softmax of it, as of any logits, is the mean itself.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        """Take at least one classifier. Raises ModelError when they want their images normalised differently."""
        super().__init__()
        self.mean, self.std = members[0].mean, members[0].std
        if any((member.mean, member.std) != (self.mean, self.std) for member in members):
            raise ModelError("the members of an ensemble normalise images differently; leave one kind out")
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        each = torch.stack([member(images).log_softmax(1) for member in self.members])
        return each.logsumexp(0) - math.log(len(self.members))


def save_members(files: Sequence[Path], into: Path) -> None:
    """Write the weights of several classifiers, each in a file of its own, as those of their ensemble.

    Raises ModelError for a file that cannot be read.
    """
    states = [read_weights(file) for file in files]
    save_file(
        {f"members.{place}.{name}": tensor for place, state in enumerate(states) for name, tensor in state.items()},
        into,
    )


AnyClassifier = Classifier | Ensemble
"""What an export may hold."""

"""The mean of the weights of several networks: one network, as fast as each of them.

It helps where they have not left each other's neighbourhood: trials that began at the same pretrained weights, or
epochs of one trial (Wortsman et al. 2022, arXiv 2203.05482, whose greedy order is followed here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper.data.batches import Batch
from sweeper.modeling.classifier import Classifier, frozen_parts
from sweeper.training.batch_statistics import measured_anew

State = dict[str, Tensor]


def averaged(states: Sequence[State]) -> State:
    """Return the mean of each weight; counts, which are whole numbers, are the first's."""
    first = states[0]
    return {name: _mean([state[name] for state in states]) for name in first}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0].clone()
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)


def greedy_soup(count: int, score: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """Return which of `count` networks, numbered best first, go into the soup: each that does not lower its score.

    `score` is that of the soup of some of them, the higher the better.
    """
    chosen: tuple[int, ...] = (0,)
    best = score(chosen)
    for number in range(1, count):
        found = score((*chosen, number))
        if found >= best:
            chosen, best = (*chosen, number), found
    return chosen


@torch.no_grad()
def recompute_statistics(classifier: Classifier, batches: Iterable[Batch]) -> None:
    """Measure the statistics of batch normalisation anew; those of frozen parts, which are constants, stay.

    Averaged weights give other activations than any of the networks they came from.

    Args:
        classifier: Changed in place; left in inference mode.
        batches: Of training images, without augmentation.
    """
    fixed = {module for part in frozen_parts(classifier) for module in part.modules()}
    norms = [m for m in classifier.modules() if isinstance(m, _BatchNorm) and m not in fixed]
    mirrored, classifier.mirrored = classifier.mirrored, False  # whose second pass would be measured too
    classifier.eval()
    try:
        with measured_anew(norms) as next_batch:
            for number, batch in enumerate(batches if norms else ()):
                if number and len(batch.inputs) == 1:  # which alone has no variance
                    continue
                next_batch(len(batch.inputs))
                classifier(batch.inputs)
    finally:
        classifier.mirrored = mirrored
    classifier.eval()

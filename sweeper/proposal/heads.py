"""Where a machine has no time to train whole networks: heads on the features of frozen ones, computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweeper.proposal import choices
from sweeper.proposal.choices import Budget
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts
from sweeper.safeguards.quantity import quantity

FEWEST_EPOCHS = 10
"""Fine-tuning that has time for fewer gives less than a head."""

EPOCHS = 20
FUSED = 8
FORWARD = 8.0
"""How many times faster ONNX Runtime puts an image through a network than PyTorch trains on it, both on a CPU."""

FOR_FEATURES = 1 / 3
"""The most of the time in which features are computed."""

SIDES = tuple(side for side in choices.SIDES if side <= 224)
"""Most weights were trained at 224 pixels: a frozen network sees enlarged images well, and reduced ones worse."""

RANKED_BY = 5_000
"""Images by which backbones are ranked, as is usual for `backbone_ranking`."""

PixelsPerSecond = Mapping[str, float]
"""How many pixels a second each network trains with."""


def suit(machine: MachineFacts, pretrained: bool, whole: Budget) -> bool:
    """Return whether heads are a better choice than `whole`, the training of whole networks."""
    return pretrained and not machine.gpu and (whole.epochs < FEWEST_EPOCHS or whole.trials < choices.FEWEST_TRIALS)


def features_s(data: DataFacts, size: int, speeds: PixelsPerSecond) -> float:
    """Return the seconds that features take at an image size: some images through all networks, all through one."""
    seconds = [size**2 / (FORWARD * speed) for speed in speeds.values()]
    ranked = min(data.train, RANKED_BY) * sum(seconds) if len(seconds) > 1 else 0.0
    return ranked + (data.train + data.val) * max(seconds)


def image_size(data: DataFacts, hours: float, speeds: PixelsPerSecond) -> int:
    """Return the largest size for whose features there is time; the smallest where there is time for none."""
    fitting = [side for side in SIDES if features_s(data, side, speeds) <= FOR_FEATURES * hours * 3600]
    return max(fitting, default=SIDES[0])


def head_lines(
    data: DataFacts, names: tuple[str, ...], why_here: str, whole: Budget, size: int, features: str
) -> Iterator[tuple[str, str]]:
    """Yield the lines from the epochs to the augmentation, each with its reason.

    Args:
        data: The images.
        names: The backbones.
        why_here: Why they begin with pretrained weights.
        whole: What training whole networks would be.
        size: Pixels of the images.
        features: How long their features take, in words.
    """
    yield f"  epochs: {EPOCHS}", "a head on stored features takes seconds"
    yield "pruner: none", "so there is little to save"
    yield f"features: {{views: 1, fuse: {FUSED}}}", f"computed once, in about {features}; {FUSED} heads learn at once"
    if len(names) > 1:
        yield "backbone_ranking: {keep: 1}", "a head on some of the images tells which of them is best"
    yield "search:", ""
    listed = f"{{choice: [{', '.join(names)}]}}" if len(names) > 1 else names[0]
    yield f"  backbone: {listed}", "any name of timm"
    yield "  pretrained: true", why_here
    whole_ones = f"{quantity(whole.trials, 'trial')} of {quantity(whole.epochs, 'epoch')}"
    yield "  trainable: head", f"whole networks: {whole_ones} in this time; use a GPU"
    yield f"  image_size: {size}", "the largest for whose features there is time: a frozen network sees those best"
    yield f"  batch_size: {choices.one_of(batch_sizes(data))}", ""
    yield "  optimizer: {name: adamw, lr: {float: [3.0e-4, 3.0e-2], log: true}}", "usual range, over the decades"


def batch_sizes(data: DataFacts) -> list[int]:
    """Return sizes with at least eight steps per epoch, larger ones than for whole networks."""
    return [size for size in (32, 64, 128, 256) if size * 8 <= data.train][-2:] or [max(2, data.train // 8)]

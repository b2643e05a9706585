"""Without a GPU: what the first stages of a pretrained network give is stored, and the last stage or a head learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from sweeper.proposal import choices
from sweeper.proposal.choices import Line, Search
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts, StageSpeed, Timer
from sweeper.proposal.recipes import FEW_IMAGES, head_recipe, last_stage_recipe
from sweeper.safeguards.quantity import quantity

HEAD_EPOCHS = 20
FUSED = 8
FEWEST_EPOCHS, MOST_EPOCHS = 5, 20
"""Of a last stage: with fewer it gives hardly more than a head, and it needs no more."""

FORWARD = 8.0
"""How many times faster ONNX Runtime puts an image through a network than PyTorch trains on it, both on a CPU."""

FOR_VALUES = 1 / 3
"""The most of the time in which stored values are computed."""

SIDES = tuple(side for side in choices.SIDES if side <= 224)
"""Most weights were trained at 224 pixels: a frozen network sees enlarged images well, and reduced ones worse."""

RANKED_BY = 5_000
"""Images by which backbones are ranked, as is usual for `backbone_ranking`."""

SIZE_WHY = "the largest for which there is time: a frozen network sees those best"

PixelsPerSecond = Mapping[str, float]
"""How many pixels a second each network trains with."""


@dataclass(frozen=True)
class Stored:
    """What is stored of the images.

    Attributes:
        size: Pixels of the images.
        views: Of each training image.
        last_stage: Whether the last stage learns, else a head alone.
        epochs: Of a trial.
        seconds: That it takes to compute.
        why: How the budget was found.
    """

    size: int
    views: int
    last_stage: bool
    epochs: int
    seconds: float
    why: str = ""


def search(
    data: DataFacts,
    machine: MachineFacts,
    names: tuple[str, ...],
    why_here: str,
    hours: float,
    timer: Timer,
) -> Search:
    """Propose to train last stages on stored values where there is time and room, else heads.

    Args:
        data: The images.
        machine: What trains.
        names: The backbones.
        why_here: Why they begin with pretrained weights.
        hours: How long the study may take.
        timer: Times the networks.
    """
    stored = _stored(data, machine, names, hours, timer)
    if not stored.last_stage:
        lines, first = _of_heads(data, names, why_here, stored), [head_recipe(data, head_batches(data))]
        return Search(list(lines), first, stored.size)
    few, (sizes, _) = data.fewest < FEW_IMAGES, choices.batch_sizes(data)
    heads = [head_recipe(data, sizes, beside=True)] if few else []
    recipe = last_stage_recipe(data, sizes, beside=few)
    lines = _of_last_stages(data, names, why_here, stored, few=few)
    return Search(list(lines), [*heads, recipe], stored.size, stored.why)


def _stored(data: DataFacts, machine: MachineFacts, names: tuple[str, ...], hours: float, timer: Timer) -> Stored:
    sizes, _ = choices.batch_sizes(data)
    side, batch = int(choices.image_size(data, machine).value), max(sizes)
    speeds = {name: timer.whole(name, side, batch) * side**2 for name in names}
    size = image_size(data, hours, speeds)
    heads = Stored(size, 1, False, HEAD_EPOCHS, values_s(data, size, speeds))
    stages = [timer.last_stage(name, size, batch) for name in names]
    slowest, largest = _worst(stages)
    kinds = 2 if data.fewest < FEW_IMAGES else 1  # heads have values of their own
    for views in (1,) if data.grey else (2, 1):
        seconds = kinds * values_s(data, size, speeds, views)
        left = hours - seconds / 3600
        planned = choices.budget(data, names, size, batch, left, lambda *_: slowest)
        enough = planned.trials >= choices.FEWEST_TRIALS and planned.epochs >= FEWEST_EPOCHS
        has_room = kinds * largest * (views * data.train + data.val) <= machine.room
        if enough and has_room and seconds <= FOR_VALUES * hours * 3600:
            why = f"about {choices.short_time(hours)}; the last stage learns {slowest:,.0f} images a second here"
            return Stored(size, views, True, min(planned.epochs, MOST_EPOCHS), seconds, why)
    return heads


def _worst(stages: list[StageSpeed | None]) -> tuple[float, float]:
    """Return the images a second of the slowest last stage, and the bytes of the largest values: of none 0, and all."""
    if any(stage is None for stage in stages):
        return 0.0, inf
    known = [stage for stage in stages if stage]
    return min(stage.images_per_s for stage in known), max(stage.value_bytes for stage in known)


def values_s(data: DataFacts, size: int, speeds: PixelsPerSecond, views: int = 1) -> float:
    """Return the seconds that values take at an image size: some images through all networks, all through one."""
    seconds = [size**2 / (FORWARD * speed) for speed in speeds.values()]
    ranked = min(data.train, RANKED_BY) * sum(seconds) if len(seconds) > 1 else 0.0
    return ranked + (views * data.train + data.val) * max(seconds)


def image_size(data: DataFacts, hours: float, speeds: PixelsPerSecond) -> int:
    """Return the largest size for whose values there is time; the smallest where there is time for none."""
    fitting = [side for side in SIDES if values_s(data, side, speeds) <= FOR_VALUES * hours * 3600]
    return max(fitting, default=SIDES[0])


def _of_heads(data: DataFacts, names: tuple[str, ...], why_here: str, stored: Stored) -> Iterator[Line]:
    yield f"  epochs: {HEAD_EPOCHS}", "a head on stored values takes seconds"
    yield "pruner: none", "so there is little to save"
    computed = f"computed once, in {_minutes(stored)}; {FUSED} heads learn at once"
    yield f"features: {{views: {stored.views}, fuse: {FUSED}}}", computed
    yield from _of_backbones(names, why_here)
    yield "  trainable: head", "this machine has no time or room to train more; use a GPU, or give more time"
    yield f"  image_size: {stored.size}", SIZE_WHY
    yield f"  batch_size: {choices.one_of(head_batches(data))}", ""
    yield "  optimizer: {name: adamw, lr: {float: [3.0e-4, 3.0e-2], log: true}}", "usual range, over the decades"
    yield from choices.of_every_network(data)
    yield "  augment: {mixup: {float: [0.0, 0.4]}}", "the only augmentation that works on stored values"
    yield "  scheduler: cosine", "falls to the end of the trial"


def _of_last_stages(
    data: DataFacts, names: tuple[str, ...], why_here: str, stored: Stored, *, few: bool
) -> Iterator[Line]:
    flip, seen = ("flip: true, ", "as it is or mirrored") if stored.views > 1 else ("", "as it is")
    views = "once" if stored.views == 1 else "twice"
    yield f"  epochs: {stored.epochs}", "at most; fewer where this machine turns out slower"
    yield "pruner: promote", "all train a little, then the best third to the end"
    computed = f"the stages before see each image {views}, in {_minutes(stored)}"
    yield f"features: {{last_stage: true, views: {stored.views}}}", computed
    yield from _of_backbones(names, why_here)
    if few:
        why = f"a class has {quantity(data.fewest, 'image')}: the head alone may be the safer choice"
        yield "  trainable: {choice: [last_stage, head]}", why
    else:
        yield "  trainable: last_stage", "and the head: without a GPU better than the whole network in the same time"
    yield f"  image_size: {stored.size}", SIZE_WHY
    yield f"  batch_size: {choices.one_of(choices.batch_sizes(data)[0])}", ""
    high = "1.0e-2" if few else "3.0e-3"
    yield f"  optimizer: {{name: adamw, lr: {{float: [1.0e-4, {high}], log: true}}}}", "usual range"
    yield from choices.of_every_network(data)
    yield f"  augment: {{{flip}mixup: {{float: [0.0, 0.4]}}}}", f"stored {seen}; mixup works on what is stored"
    yield "  scheduler: cosine", "falls to the end of the trial"


def _of_backbones(names: tuple[str, ...], why_here: str) -> Iterator[Line]:
    if len(names) > 1:
        yield "backbone_ranking: {keep: 1}", "a head on some of the images tells which of them is best"
    yield "search:", ""
    listed = f"{{choice: [{', '.join(names)}]}}" if len(names) > 1 else names[0]
    yield f"  backbone: {listed}", "any name of timm"
    yield "  pretrained: true", why_here


def _minutes(stored: Stored) -> str:
    return f"about {quantity(max(1, round(stored.seconds / 60)), 'minute')}"


def head_batches(data: DataFacts) -> list[int]:
    """Return sizes with at least eight steps per epoch, larger ones than for whole networks."""
    return [size for size in (32, 64, 128, 256) if size * 8 <= data.train][-2:] or [max(2, data.train // 8)]

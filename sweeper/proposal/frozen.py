"""Without a GPU: what the first stages of a pretrained network give is stored, and the last stage or a head learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from sweeper.proposal import choices
from sweeper.proposal.choices import Budget, Line, Search, takes
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts, StageSpeed, Timer
from sweeper.proposal.recipes import FEW_IMAGES, head_recipe, last_stage_recipe
from sweeper.safeguards.quantity import quantity

HEAD_EPOCHS = 20
FUSED = 8
FEWEST_EPOCHS, MOST_EPOCHS = 5, 20
"""Of a last stage: with fewer it gives hardly more than a head, and it needs no more."""

FORWARD, FORWARD_BY_ONNX = 3.0, 8.0
"""How many times faster a network sees images than it is trained on them; ONNX Runtime is what a CPU uses for it."""

FOR_VALUES = 1 / 4
"""The most of the time in which stored values are computed, those by which backbones are ranked included."""

FOR_ROOM = 1 / 2
"""The most of the free memory, and of the free disk, that they may take."""

LARGEST = 224
"""Pixels that most weights were trained at: a frozen network sees enlarged images well, and reduced ones worse."""

LARGE_ENOUGH = 112
"""For the sake of smaller images no network is left out of those whose heads learn."""

SIDES = tuple(side for side in choices.SIDES if side <= LARGEST)[::-1]
STAGE_SIDES = (LARGEST, 160)
"""At smaller ones, a head at a larger one is preferred."""

TIMED = 16
"""Images in a batch by which whole networks are timed."""

RANKED_BY = 5_000
"""Training images by which backbones are ranked, as is usual for `backbone_ranking`."""

SIZE_WHY = "the largest for which there is time: a frozen network sees those best"

SecondsPerPixel = Mapping[str, float]
"""What a pixel costs in a forward pass of each network."""


@dataclass(frozen=True)
class Stored:
    """What is stored of the images, and what learns from it.

    Attributes:
        names: The backbones.
        size: Pixels of the images.
        seconds: How long it takes to compute what is stored.
        stages: The trials in which last stages learn; None where heads alone do.
        why_heads: Why heads alone learn, where they do.
    """

    names: tuple[str, ...]
    size: int
    seconds: float
    stages: Budget | None = None
    why_heads: str = ""


def search(data: DataFacts, machine: MachineFacts, hours: float, timer: Timer) -> Search | None:
    """Propose to train last stages on stored values where there is time and room, else heads.

    Returns None where no network whose weights are here takes images of 224 pixels. `hours` is how long the study may
    take.
    """
    fitting = (name for name in machine.weights if takes(timer, name, LARGEST, TIMED))
    names = tuple(islice(fitting, choices.MOST_BACKBONES))
    if not names:
        return None
    stored = _stored(data, machine, names, hours, timer)
    if stored.stages is None:
        first = [head_recipe(data, head_batches(data))]
        return Search(list(_of_heads(data, stored)), first, stored.size)
    few, (sizes, _) = data.fewest < FEW_IMAGES, choices.batch_sizes(data)
    heads = [head_recipe(data, sizes, beside=True)] if few else []
    why = f"about {choices.short_time(hours)}; a last stage learns from {stored.stages.speed:,.0f} images a second here"
    first = [*heads, last_stage_recipe(data, sizes, beside=few)]
    return Search(list(_of_last_stages(data, stored, stored.stages, few=few)), first, stored.size, why)


def _stored(data: DataFacts, machine: MachineFacts, names: tuple[str, ...], hours: float, timer: Timer) -> Stored:
    faster = FORWARD_BY_ONNX if machine.cpu else FORWARD
    costs = {name: 1 / (faster * timer.in_auto(name, LARGEST, TIMED) * LARGEST**2) for name in names}
    reasons = []
    for fastest in _without_the_slowest(costs):
        for size in STAGE_SIDES:
            found = _with_last_stages(data, machine, fastest, size, hours, timer)
            if isinstance(found, Stored):
                return found
            reasons.append(found)
    heads = [_with_heads(data, fastest, hours, timer, why=reasons[0]) for fastest in _without_the_slowest(costs)]
    in_time = [stored for stored in heads if stored.seconds <= FOR_VALUES * hours * 3600]
    large = [stored for stored in in_time if stored.size >= LARGE_ENOUGH]
    return next(iter(large), max(in_time, key=lambda stored: stored.size, default=heads[0]))


def _without_the_slowest(costs: SecondsPerPixel) -> Iterator[SecondsPerPixel]:
    """Yield the costs of all networks, then of ever fewer: a much slower one would leave no time to the others."""
    ranked = sorted(costs, key=lambda name: costs[name])
    for count in range(len(ranked), 0, -1):
        kept = ranked[:count]
        yield {name: cost for name, cost in costs.items() if name in kept}


def _with_heads(data: DataFacts, costs: SecondsPerPixel, hours: float, timer: Timer, why: str) -> Stored:
    """Return what is stored for heads: at the largest size for which there is time, else at the smallest."""
    heads = Stored((), 0, 0.0)
    for size in SIDES:
        names = tuple(name for name in costs if size == LARGEST or takes(timer, name, size, TIMED))
        if not names:
            continue
        seconds = _values_s(data, size, [costs[name] for name in names])
        heads = Stored(names, size, seconds, why_heads=why)
        if seconds <= FOR_VALUES * hours * 3600:
            break
    return heads


def _with_last_stages(
    data: DataFacts, machine: MachineFacts, costs: SecondsPerPixel, size: int, hours: float, timer: Timer
) -> Stored | str:
    """Return what is stored for last stages at an image size, or why they are not trained."""
    batch = max(choices.batch_sizes(data)[0])
    timed = {name: timer.last_stage(name, size, batch) for name in costs}
    stages = {name: stage for name, stage in timed.items() if stage}
    if not stages:
        return "these networks cannot be cut before their last stage"

    def speed(name: str, *_: int) -> float:
        return stages[name].images_per_s

    kinds = 2 if data.fewest < FEW_IMAGES else 1  # heads have values of their own
    seconds = _values_s(data, size, [costs[name] for name in stages], kinds)
    planned = choices.budget(data, tuple(stages), size, batch, hours - seconds / 3600, speed)
    enough = planned.trials >= choices.FEWEST_TRIALS and planned.epochs >= FEWEST_EPOCHS
    if not enough or seconds > FOR_VALUES * hours * 3600:
        return "there is no time here to train the last stage"
    if not _has_room(data, machine, size, stages, kinds):
        return "too little memory or disk here for the stored values of a last stage"
    return Stored(tuple(stages), size, seconds, planned)


def _has_room(data: DataFacts, machine: MachineFacts, size: int, stages: Mapping[str, StageSpeed], kinds: int) -> bool:
    """Return whether stored values have room in memory, and on the disk beside decoded images."""
    largest = max(stage.value_bytes for stage in stages.values())
    values = kinds * largest * (data.train + data.val)
    decoded = 3 * min(size, data.largest_side) ** 2 * (data.train + data.val + data.test)
    return values <= FOR_ROOM * machine.free_memory and values + decoded <= FOR_ROOM * machine.free_disk


def _values_s(data: DataFacts, size: int, costs: list[float], kinds: int = 1) -> float:
    """Return the seconds that values take at an image size.

    Args:
        data: The images.
        size: Their pixels.
        costs: Seconds that a pixel takes in each network.
        kinds: How many kinds of values there are of each image.
    """
    ranked = (min(data.train, RANKED_BY) + data.val) * sum(costs) if len(costs) > 1 else 0.0
    return size**2 * (ranked + kinds * (data.train + data.val) * max(costs, default=0.0))


def _of_heads(data: DataFacts, stored: Stored) -> Iterator[Line]:
    yield f"  epochs: {HEAD_EPOCHS}", "a head on stored values takes seconds"
    yield "pruner: none", "so there is little to save"
    computed = f"computed once, in {_minutes(stored)}; {FUSED} heads learn at once"
    yield f"features: {{fuse: {FUSED}}}", computed
    yield from _of_backbones(stored)
    yield "  trainable: head", stored.why_heads
    yield f"  image_size: {stored.size}", SIZE_WHY
    yield f"  batch_size: {choices.one_of(head_batches(data))}", ""
    yield "  optimizer: {name: adamw, lr: {float: [3.0e-4, 3.0e-2], log: true}}", "usual range, on a logarithmic scale"
    yield from choices.of_every_network(data)
    yield "  augment: {mixup: {float: [0.0, 0.4]}}", "works on stored values; changed images would be stored, too"
    yield "  scheduler: cosine", "the learning rate falls until the end of the trial"


def _of_last_stages(data: DataFacts, stored: Stored, planned: Budget, *, few: bool) -> Iterator[Line]:
    yield f"  epochs: {min(planned.epochs, MOST_EPOCHS)}", "at most; fewer where this machine turns out slower"
    yield "pruner: promote", "all train a little, then the best third to the end"
    yield "features: {last_stage: true}", f"the stages before see each image once, in {_minutes(stored)}"
    yield from _of_backbones(stored)
    if few:
        why = f"a class has {quantity(data.fewest, 'image')}: the head alone may be the safer choice"
        yield "  trainable: {choice: [last_stage, head]}", why
    else:
        yield "  trainable: last_stage", "and the head; in this time better than whole networks (docs/results.md)"
    yield f"  image_size: {stored.size}", SIZE_WHY
    yield f"  batch_size: {choices.one_of(choices.batch_sizes(data)[0])}", ""
    high = "1.0e-2" if few else "3.0e-3"
    yield f"  optimizer: {{name: adamw, lr: {{float: [1.0e-4, {high}], log: true}}}}", "usual range"
    yield from choices.of_every_network(data)
    yield "  augment: {mixup: {float: [0.0, 0.4]}}", "works on stored values; changed images would be stored, too"
    yield "  scheduler: cosine", "the learning rate falls until the end of the trial"


def _of_backbones(stored: Stored) -> Iterator[Line]:
    if len(stored.names) > 1:
        yield "backbone_ranking: {keep: 1}", "a head on some of the images tells which of them is best"
    yield "search:", ""
    listed = f"{{choice: [{', '.join(stored.names)}]}}" if len(stored.names) > 1 else stored.names[0]
    yield f"  backbone: {listed}", "any name of timm"
    yield "  pretrained: true", choices.WEIGHTS_HERE


def _minutes(stored: Stored) -> str:
    return f"about {quantity(max(1, round(stored.seconds / 60)), 'minute')}"


def head_batches(data: DataFacts) -> list[int]:
    """Return sizes with at least eight steps per epoch, larger ones than for whole networks."""
    return [size for size in (32, 64, 128, 256) if size * 8 <= data.train][-2:] or [max(2, data.train // 8)]

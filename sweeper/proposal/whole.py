"""A search of whole networks: all of them learn, from the images themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from sweeper.proposal import choices
from sweeper.proposal.choices import Line, Reasoned, Search
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts, Timer
from sweeper.proposal.recipes import FEW_IMAGES, TRANSFORMERS, can_mirror, recipes
from sweeper.safeguards.quantity import quantity


def search(data: DataFacts, machine: MachineFacts, hours: float, timer: Timer) -> Search:
    """Propose to train whole networks; `hours` is how long the study may take."""
    size, (numbers, _) = choices.image_size(data, machine), choices.batch_sizes(data)
    fits = partial(choices.takes, timer, size=int(size.value), batch=max(numbers))
    names, pretrained = choices.backbones(machine, fits)
    planned = choices.budget(data, names, int(size.value), max(numbers), hours, timer.whole)
    backbone = names[-1] if machine.gpu else names[0]  # the larger one where that costs little
    crops_at_most = choices.most_padding(int(size.value))
    first = recipes(data, backbone, crops_at_most, numbers, pretrained.value == "true")
    return Search(list(_lines(data, names, pretrained, planned.epochs, size)), first, int(size.value), planned.why)


def _lines(
    data: DataFacts, names: tuple[str, ...], pretrained: Reasoned, epochs: int, size: Reasoned
) -> Iterator[Line]:
    (_, batches), crops = choices.batch_sizes(data), choices.padding(int(size.value))
    has_weights = pretrained.value == "true"
    yield from [
        (f"  epochs: {epochs}", "at most; fewer where this machine turns out slower"),
        ("pruner: promote", "all train a little, then the best third to the end"),
        ("search:", ""),
        (f"  backbone: {{choice: [{', '.join(names)}]}}", "quick networks first; any name of timm"),
        (f"  pretrained: {pretrained.value}", pretrained.why),
        *_of_pretrained(data, names, has_weights),
        (f"  image_size: {size.value}", size.why),
        (f"  batch_size: {batches.value}", batches.why),
        ("  optimizer:", ""),
        ("    choice:", ""),
        *_optimizers(has_weights),
        *choices.of_every_network(data),
        ("  augment:", ""),
        (f"    crop_padding: {crops.value}", crops.why),
        ("    flip: {choice: [false, true]}", "wrong for digits and text, right for most photographs"),
        *_of_mirror_images(data),
        ("  scheduler:", ""),
        ("    choice:", ""),
        ("      - {name: cosine}", "the learning rate falls until the end of the trial"),
        ("      - {name: reduce_on_plateau, patience: {int: [1, 3]}}", "falls when the validation loss stalls"),
    ]


def _of_pretrained(data: DataFacts, names: Iterable[str], pretrained: bool) -> Iterator[Line]:
    if pretrained and data.fewest < FEW_IMAGES:
        yield (
            "  trainable: {choice: [all, head]}",
            f"a class has {quantity(data.fewest, 'image')}: the head alone may be the safer choice",
        )
    if pretrained and any(name.startswith(TRANSFORMERS) for name in names):
        yield "  layer_decay: {choice: [1.0, 0.75]}", "usual for transformers, whose first layers need less change"


def _of_mirror_images(data: DataFacts) -> Iterator[Line]:
    if can_mirror(data):
        why = "answer by an image and its mirror image: better for photographs, each prediction costs twice"
        yield "  test_time_augmentation: {choice: [none, flip]}", why


def _optimizers(pretrained: bool) -> Iterable[Line]:
    low, high = ("1.0e-5", "1.0e-3") if pretrained else ("3.0e-4", "1.0e-2")
    yield f"      - {{name: adamw, lr: {{float: [{low}, {high}], log: true}}}}", "usual range, on a logarithmic scale"
    low, high = ("1.0e-3", "1.0e-1") if pretrained else ("1.0e-2", "3.0e-1")
    yield f"      - {{name: sgd, lr: {{float: [{low}, {high}], log: true}}, momentum: 0.9}}", ""

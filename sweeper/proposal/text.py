"""A first search space as YAML that people read: each line with why it says what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path

import yaml

from sweeper.config.document import written
from sweeper.errors import ModelError
from sweeper.proposal import choices, heads
from sweeper.proposal.choices import Budget, Reasoned, Speed
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts
from sweeper.proposal.recipes import FEW_IMAGES, IMBALANCED, TRANSFORMERS, Recipe, can_mirror, head_recipe, recipes
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import quantity

LONGEST_STUDY = 100
COMMENT_AT = 58
"""Column of the reasons, where a line leaves room for one."""


def space_text(
    data: DataFacts,
    machine: MachineFacts,
    hours: float,
    speed: Speed,
    device: str = "auto",
    *,
    with_recipes: bool = True,
) -> str:
    """Return a search space that runs as it is, with configurations of common practice put first."""
    timed = cache(speed)
    size, (numbers, _) = choices.image_size(data, machine), choices.batch_sizes(data)
    names, pretrained = choices.backbones(machine, partial(_takes, timed, int(size.value), max(numbers)))
    planned = choices.budget(data, names, int(size.value), max(numbers), hours, timed)
    if heads.suit(machine, pretrained.value == "true", planned):
        speeds = {name: timed(name, int(size.value), max(numbers)) * int(size.value) ** 2 for name in names}
        lines = _with_heads(data, names, pretrained, planned, speeds)
        first, budget_why = [head_recipe(data, heads.batch_sizes(data))], ""
    else:
        lines = _with_networks(data, names, pretrained, planned, size)
        backbone = names[-1] if machine.gpu else names[0]  # the larger one where that costs little
        crops_at_most = choices.most_padding(int(size.value))
        first, budget_why = recipes(data, backbone, crops_at_most, numbers, pretrained.value == "true"), planned.why
    goal = choices.objective(data)
    whole = [
        *_head(data, machine),
        (f"study: {written(study_name(data.path))}", ""),
        ("dataset:", ""),
        (f"  path: {json.dumps(data.path, ensure_ascii=False)}", ""),
        *_splits(data),
        *([(f"device: {device}", "")] if device != "auto" else []),
        (f"objective: {{metric: {goal.value}}}", goal.why),
        ("budget:", budget_why),
        (f"  for: {choices.short_time(hours)}", "then the best model is exported; as many trials as fit"),
        *lines,
        *(_first(first) if with_recipes else []),
    ]
    return "\n".join(_aligned(whole)) + "\n"


def _with_networks(
    data: DataFacts,
    names: tuple[str, ...],
    pretrained: Reasoned,
    planned: Budget,
    size: Reasoned,
) -> Iterator[tuple[str, str]]:
    """Yield what a search of whole networks says, from the epochs on."""
    (_, batches), crops = choices.batch_sizes(data), choices.padding(int(size.value))
    has_weights = pretrained.value == "true"
    yield from [
        (f"  epochs: {planned.epochs}", "at most; fewer where this machine turns out slower"),
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
        *_of_every_network(data),
        ("  augment:", ""),
        (f"    crop_padding: {crops.value}", crops.why),
        ("    flip: {choice: [false, true]}", "wrong for digits and text, right for most photographs"),
        *_of_mirror_images(data, has_weights),
        ("  scheduler:", ""),
        ("    choice:", ""),
        ("      - {name: cosine}", "falls to the end of the trial"),
        ("      - {name: reduce_on_plateau, patience: {int: [1, 3]}}", "falls when the validation loss stalls"),
    ]


def _with_heads(
    data: DataFacts, names: tuple[str, ...], pretrained: Reasoned, planned: Budget, speeds: heads.PixelsPerSecond
) -> Iterator[tuple[str, str]]:
    """Yield what a search of heads says, from the epochs on."""
    size = heads.image_size(data, planned.hours, speeds)
    features = quantity(max(1, round(heads.features_s(data, size, speeds) / 60)), "minute")
    yield from heads.head_lines(data, names, pretrained.why, planned, size, features)
    yield from _of_every_network(data)
    yield "  augment: {mixup: {float: [0.0, 0.4]}}", "the only augmentation that works on stored features"
    yield "  scheduler: cosine", "falls to the end of the trial"


def _of_every_network(data: DataFacts) -> Iterator[tuple[str, str]]:
    yield "  weight_decay: {float: [1.0e-5, 1.0e-1], log: true}", "no general value: depends on everything else"
    yield "  label_smoothing: {choice: [0.0, 0.1]}", ""
    if data.imbalance >= IMBALANCED:
        yield "  class_balance: {sampling: {choice: [0.0, 0.5]}}", "draws rare classes more often"


def _takes(speed: Speed, size: int, batch: int, name: str) -> bool:
    """Return whether a network can be trained at an image size: some take one size alone."""
    try:
        return speed(name, size, batch) > 0
    except ModelError:
        return False


def study_name(path: str) -> str:
    """Return a name for the study of the images at a path."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).absolute().stem).strip("-_")
    return name[:LONGEST_STUDY] or "first"


def _head(data: DataFacts, machine: MachineFacts) -> Iterator[tuple[str, str]]:
    """Say what was seen."""
    images = f"{data.train:,} training, {data.val:,} validation and {data.test:,} test images"
    spread = data.smallest_side < data.largest_side
    sides = f", {data.smallest_side:,} to {data.largest_side:,} in all" if spread else ""
    yield f"# Images: {images} of {data.classes:,} classes{', all without colour' if data.grey else ''}.", ""
    yield f"# Pixels on the shorter side: {data.side:,}{sides}.", ""
    yield f"# Trained on: {machine.device}; {machine.cores} cores.", ""
    for note in data.notes.facts():
        yield f"# {one_line(note)}", ""


def _splits(data: DataFacts) -> Iterator[tuple[str, str]]:
    if data.drawn:
        yield "  val_fraction: 0.2", "no validation split is given: a random fifth of the images is used for validation"


def _of_pretrained(data: DataFacts, names: Iterable[str], pretrained: bool) -> Iterator[tuple[str, str]]:
    if pretrained and data.fewest < FEW_IMAGES:
        yield (
            "  trainable: {choice: [all, head]}",
            f"a class has {quantity(data.fewest, 'image')}: the head alone may be the safer choice",
        )
    if pretrained and any(name.startswith(TRANSFORMERS) for name in names):
        yield "  layer_decay: {choice: [1.0, 0.75]}", "usual for transformers, whose first layers need less change"


def _of_mirror_images(data: DataFacts, pretrained: bool) -> Iterator[tuple[str, str]]:
    if can_mirror(data, pretrained):
        why = "answer by an image and its mirror image: better for photographs, each prediction costs twice"
        yield "  test_time_augmentation: {choice: [none, flip]}", why


def _first(found: Iterable[Recipe]) -> Iterator[tuple[str, str]]:
    """Put recipes in line before what the sampler suggests."""
    yield "enqueue:", "tried first; edit or remove them"
    for recipe in found:
        yield f"  {recipe.name}:", recipe.why
        for key, value in recipe.settings.items():
            told = yaml.safe_dump(value, default_flow_style=True, sort_keys=False).removesuffix("...\n").strip()
            yield f"    {key}: {told}", ""


def _optimizers(pretrained: bool) -> Iterable[tuple[str, str]]:
    low, high = ("1.0e-5", "1.0e-3") if pretrained else ("3.0e-4", "1.0e-2")
    yield f"      - {{name: adamw, lr: {{float: [{low}, {high}], log: true}}}}", "usual range, over the decades"
    low, high = ("1.0e-3", "1.0e-1") if pretrained else ("1.0e-2", "3.0e-1")
    yield f"      - {{name: sgd, lr: {{float: [{low}, {high}], log: true}}, momentum: 0.9}}", ""


def _aligned(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    for line, why in lines:
        yield f"{line.ljust(COMMENT_AT)}  # {why}" if why else line

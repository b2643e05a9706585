"""A first search space as YAML that people read: each line with why it says what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import yaml

from sweeper.config.contradictions import LONGEST_RANKED
from sweeper.config.document import written
from sweeper.proposal import choices, frozen, whole
from sweeper.proposal.choices import Line, Search
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts, Timer
from sweeper.proposal.recipes import Recipe
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import quantity

SMALLEST_SIDE = 8
"""That the configuration takes."""

PRECISION_WHY = "this processor has instructions for it: steps are 1.1 to 1.5 times as fast"

COMMENT_AT = 58
"""Column of the reasons, where a line leaves room for one."""


def space_text(
    data: DataFacts,
    machine: MachineFacts,
    hours: float,
    timer: Timer,
    device: str = "auto",
    *,
    most_recipes: int | None = None,
    taken: Collection[str] = (),
) -> str:
    """Return a search space that runs as it is, with configurations of common practice put first.

    Args:
        data: The images.
        machine: What trains.
        hours: How long the study may take.
        timer: Times networks.
        device: What trains, as the search space names it.
        most_recipes: How many configurations are put first, at most; None for all there are.
        taken: Names of studies that this one is not to have.
    """
    found = _search(data, machine, hours, timer)
    goal = choices.objective(data)
    lines = [
        *_head(data, machine),
        _study(study_name(data.path), taken),
        ("dataset:", ""),
        (f"  path: {json.dumps(data.path, ensure_ascii=False)}", ""),
        *_splits(data),
        *_unreadable(data),
        *_stored_size(data, found.image_size),
        *([(f"device: {device}", "")] if device != "auto" else []),
        *([(f"precision: {machine.precision}", PRECISION_WHY)] if machine.precision != "auto" else []),
        (f"objective: {{metric: {goal.value}}}", goal.why),
        ("budget:", found.budget_why),
        (f"  for: {choices.short_time(hours)}", "then the best model is exported; as many trials as fit"),
        *found.lines,
        *_first(found.first[:most_recipes]),
    ]
    return "\n".join(_aligned(lines)) + "\n"


def _search(data: DataFacts, machine: MachineFacts, hours: float, timer: Timer) -> Search:
    """Propose what is searched: whole networks on a GPU, and where no pretrained weights are here."""
    stored = None if machine.gpu else frozen.search(data, machine, hours, timer)
    return stored or whole.search(data, machine, hours, timer)


def study_name(path: str) -> str:
    """Return a name for the study of the images at a path."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).absolute().stem).strip("-_")
    return name[: LONGEST_RANKED - 4] or "first"  # with room for a number


def _study(name: str, taken: Collection[str]) -> Line:
    if name not in taken:
        return f"study: {written(name)}", ""
    free = next(numbered for number in count(2) if (numbered := f"{name}-{number}") not in taken)
    return f"study: {written(free)}", f"{name} has been run here"


def _head(data: DataFacts, machine: MachineFacts) -> Iterator[Line]:
    """Say what was seen."""
    images = f"{data.train:,} training, {data.val:,} validation and {data.test:,} test images"
    spread = data.smallest_side < data.largest_side
    sides = f", {data.smallest_side:,} to {data.largest_side:,} in all" if spread else ""
    yield f"# Images: {images} of {data.classes:,} classes{', all without colour' if data.grey else ''}.", ""
    yield f"# Pixels on the shorter side: {data.side:,}{sides}.", ""
    yield f"# Trained on: {machine.device}; {machine.cores} cores.", ""
    for note in data.notes.facts():
        yield f"# {one_line(note)}", ""


def _splits(data: DataFacts) -> Iterator[Line]:
    if data.drawn:
        yield "  val_fraction: 0.2", "no validation split is given: a random fifth of the images is used for validation"


def _unreadable(data: DataFacts) -> Iterator[Line]:
    if data.unreadable:
        seen = quantity(data.unreadable, "image")
        yield "  on_bad_image: skip", f"{seen} of those opened cannot be read: `sweeper data check` names all such"


def _stored_size(data: DataFacts, image_size: int) -> Iterator[Line]:
    if data.largest_side < image_size:
        why = f"the largest shorter side that was seen; a network sees them enlarged to {image_size}"
        yield f"  stored_size: {max(SMALLEST_SIDE, data.largest_side)}", why


def _first(found: Sequence[Recipe]) -> Iterator[Line]:
    """Queue recipes before what the sampler suggests."""
    if found:
        yield "enqueue:", "tried first; edit or remove them"
    for recipe in found:
        yield f"  {recipe.name}:", recipe.why
        for key, value in recipe.settings.items():
            told = yaml.safe_dump(value, default_flow_style=True, sort_keys=False).removesuffix("...\n").strip()
            yield f"    {key}: {told}", ""


def _aligned(lines: Iterable[Line]) -> Iterator[str]:
    for line, why in lines:
        yield f"{line.ljust(COMMENT_AT)}  # {why}" if why else line

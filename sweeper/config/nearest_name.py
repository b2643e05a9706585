"""The name that was meant: by letters changed, left out, added or swapped, and by what other programs call it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

LISTED = 20
"""As many names as a message lists, where none is near."""

POPULAR = (
    *("val/accuracy", "val/loss", "val/f1", "val/precision", "val/recall", "val/psnr", "val/ssim"),
    *("adamw", "adam", "sgd", "rmsprop", "adagrad"),
    *("resnet18", "resnet50", "efficientnet_b0", "convnext_tiny"),
)
"""Of names that are as near as each other these are meant, the first ones first."""

OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "learning_rate": ("lr",),
        "bs": ("batch_size",),
        "horizontal_flip": ("flip",),
        "hflip": ("flip",),
        "vflip": ("vertical_flip",),
        "dropout": ("dropout", "drop_rate"),
        "wd": ("weight_decay",),
        "decay": ("weight_decay",),
        "augmentation": ("augment",),
        "augmentations": ("augment",),
        "transforms": ("augment",),
        "model": ("backbone",),
        "architecture": ("backbone",),
        "image": ("image_size",),
        "img_size": ("image_size",),
        "resolution": ("image_size",),
        "n_trials": ("trials",),
        "max_epochs": ("epochs",),
        "num_epochs": ("epochs",),
        "n_epochs": ("epochs",),
        "early_stopping": ("patience",),
        "data": ("dataset",),
        "folder": ("path",),
        "root": ("path",),
        "dir": ("path",),
        "directory": ("path",),
        "name": ("study",),
        "study_name": ("study",),
        "experiment": ("study",),
        "project": ("study",),
        "gamma": ("factor",),
        "step_size": ("every",),
        "asha": ("successive_halving",),
        "sha": ("successive_halving",),
        "bayesian": ("tpe",),
        "bohb": ("tpe",),
        "cma_es": ("cmaes",),
        "cosine_annealing": ("cosine",),
        "multistep": ("step",),
        "step_lr": ("step",),
        "plateau": ("plateau", "reduce_on_plateau"),
        "gpu": ("cuda",),
    }
)
"""What other programs say for a name here, the likelier first; each is one of several by what is allowed in a place."""


def nearest_name(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that was meant; None where none is near enough to be guessed."""
    names = [str(candidate) for candidate in allowed]
    for other in OTHER_NAMES.get(_bare(name).replace(" ", "_"), ()):
        if other in names:
            return other
    wanted = folded(name)
    most = max(1, len(wanted) // 3)
    found = [(distance(wanted, folded(candidate), most), _rank(candidate), candidate) for candidate in names]
    near = min(found, default=(most + 1, 0, ""))
    return near[2] if near[0] <= most else _within(wanted, names)


def folded(name: str) -> str:
    """Return what is left of a name without case, the owner of a repository, and what stands between its words."""
    return re.sub(r"[-_. ]", "", name.rpartition("/")[2].lower())


def _bare(name: str) -> str:
    return re.sub(r"[-. ]", "_", name.rpartition("/")[2].lower())


def _rank(name: str) -> int:
    return POPULAR.index(name) if name in POPULAR else len(POPULAR)


def _within(wanted: str, names: Iterable[str]) -> str | None:
    """Return the shortest name that begins or ends as what was written, such as `val/accuracy` for accuracy."""
    alike = [
        name for name in names if len(wanted) > 2 and wanted in (part := folded(name)) and _at_an_end(wanted, part)
    ]
    return min(alike, key=len, default=None)


def is_part_of(name: str, other: str) -> bool:
    """Return whether another name was found by how it begins or ends alone."""
    return folded(name) in folded(other) and len(folded(name)) < len(folded(other))


def _at_an_end(wanted: str, name: str) -> bool:
    return name.startswith(wanted) or name.endswith(wanted)


def distance(one: str, other: str, most: int) -> int:
    """Return how many letters are changed, left out, added, or swapped with the next; `most` + 1 for more than that."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        next_row = [i]
        for j, its in enumerate(other, 1):
            cost = min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, before[j - 2] + 1)
            next_row.append(cost)
        if min(next_row) > most:
            return most + 1
        before, row = row, next_row
    return row[-1]


def meant(name: str, allowed: Iterable[str]) -> str:
    """Return `: did you mean ...?` with the allowed name that was meant, if there is one."""
    near = nearest_name(name, allowed)
    return f": did you mean {near}?" if near else ""


def unknown_key(name: str, allowed: Iterable[str]) -> str:
    """Return `unknown key` with what was meant, how it is written in levels, or the keys there are."""
    names = [str(candidate) for candidate in allowed]
    first, *inner = name.split(".")
    if all(inner) and inner and first in names:
        return f"unknown key: write it in levels, {first}: {'{'}{': {'.join(inner)}: ...{'}' * len(inner)}"
    return f"unknown key{meant_or_listed(name, names)}"


def meant_or_listed(name: str, allowed: Iterable[str]) -> str:
    """Return `: did you mean ...?`, or else the names there are."""
    names = [str(candidate) for candidate in allowed]
    listed = f"; there are {', '.join(names)}" if 0 < len(names) <= LISTED else ""
    return meant(name, names) or listed

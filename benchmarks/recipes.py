"""What the settings that `sweeper init` puts first are worth, beside variants of them and others of its search space.

    python -m benchmarks.recipes --cifar10 CIFAR10 --tiny TINY_IMAGENET [--seeds 3] [--drawn 8]

Each set of images is made of real ones, with the search space that `sweeper init` writes for it. Trained alike, to
their end and without a pruner, are its recipe, the recipe with one setting changed at a time, and settings drawn at
random from the space. What counts is the objective on the validation images, of the best epoch. Sets that are
fine-tuned need pretrained weights in the model hub's cache (HF_HOME); they are left out without. The others begin from
scratch, whatever lies there. Whole networks are fine-tuned as on a machine with a GPU, but here; last stages on stored
values as on one without; heads as where last stages have no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images import gather
from benchmarks.long_tail import long_tailed, without_colour
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import environment, run_sweep
from benchmarks.proposals import Learns, proposal

MIXUP = {"mixup": 0.2}
"""Of heads: their recipe leaves it to the sampler, and here one setting is changed at a time."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Set:
    """Images to learn from: how they come into a folder, and how many epochs a trial has."""

    about: str
    write: Callable[[argparse.Namespace, Path], None]
    epochs: int
    needs_weights: bool = False
    learns: Learns = "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="a folder with train/CLASS/ and test/CLASS/")
    parser.add_argument("--tiny", type=Path, required=True, help="the unpacked tiny-imagenet-200")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--drawn", type=int, default=8)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    options = parser.parse_args()
    result = Result("recipes", "parts of CIFAR-10 and of Tiny ImageNet")
    with tempfile.TemporaryDirectory() as name:
        for chosen in options.sets:
            home = Path(name) / chosen
            SETS[chosen].write(options, home / "images")
            weights = None if SETS[chosen].needs_weights else ()
            space = proposal(home / "images", SETS[chosen].learns, weights)
            if SETS[chosen].needs_weights and space["search"]["pretrained"] is False:
                print(f"{chosen}: left out, no pretrained weights are in the hub's cache", flush=True)
                continue
            found = [
                judged(space, home / str(seed), seed, SETS[chosen], options.drawn) for seed in range(options.seeds)
            ]
            result.add(section(SETS[chosen], space, found))


def from_scratch(options: argparse.Namespace, into: Path) -> None:
    gather(options.cifar10, into, size=32, classes=10, train=1500, val=1000)


def grey(options: argparse.Namespace, into: Path) -> None:
    from_scratch(options, into)
    without_colour(into)


def unequal(options: argparse.Namespace, into: Path) -> None:
    long_tailed(options.cifar10, into)


def fine_tuned(options: argparse.Namespace, into: Path) -> None:
    gather(options.tiny, into, size=64, classes=20, train=600, val=1000)


def stored(options: argparse.Namespace, into: Path) -> None:
    gather(options.tiny, into, size=64, classes=20, train=1000, val=1000)


def few_images(options: argparse.Namespace, into: Path) -> None:
    gather(options.tiny, into, size=64, classes=20, train=200, val=1000)


SETS = {
    "from_scratch": Set("1,500 images of CIFAR-10, from scratch", from_scratch, epochs=8),
    "grey": Set("the same without colour", grey, epochs=8),
    "long_tailed": Set("CIFAR-10, 300 to 15 images a class, from scratch", unequal, epochs=8),
    "fine_tuned": Set("20 classes of Tiny ImageNet, 30 images each, fine-tuned", fine_tuned, 4, needs_weights=True),
    "few_images": Set("20 classes of Tiny ImageNet, 10 images each", few_images, 6, needs_weights=True),
    "last_stage": Set(
        "20 classes of Tiny ImageNet, 50 images each, last stages on stored values", stored, 10, True, "last_stage"
    ),
    "heads": Set("20 classes of Tiny ImageNet, 50 images each, heads on frozen features", stored, 20, True, "head"),
}


def variants(recipe: Settings) -> Iterator[tuple[str, Settings]]:
    """Yield the recipe with one setting changed at a time."""
    for name, factor in (("a third of the rate", 1 / 3), ("three times the rate", 3.0)):
        changed = deepcopy(recipe)
        changed["optimizer"]["lr"] *= factor
        yield name, changed
    for name, key, value in (
        ("hardly any weight decay", "weight_decay", 1e-5),
        ("no label smoothing", "label_smoothing", 0.0),
        ("SGD", "optimizer", {"name": "sgd", "lr": 0.1 if recipe["optimizer"]["lr"] > 1e-3 else 0.01}),
    ):
        yield name, {**recipe, key: value}


def judged(space: Settings, home: Path, seed: int, chosen: Set, drawn: int) -> dict[str, list[float]]:
    """Train the recipe, its variants and settings drawn from the space; return what each reached, by its name."""
    (_, recipe), *others = space["enqueue"].items()
    backbone = backbone_of(space)  # one network, so that settings alone are compared
    recipe = {"augment": MIXUP, **recipe} if space["search"].get("trainable") == "head" else recipe
    tried = {"the recipe": recipe, **dict(others), **dict(variants(recipe))}
    base = {
        **space,
        "backbone_ranking": None,
        "dataset": {**space["dataset"], "path": str(home.parent / "images")},
        "sampler": "random",
        "pruner": "none",
        "seed": seed,
        "search": {**space["search"], "backbone": backbone},
        "enqueue": {f"t{place}": {**settings, "backbone": backbone} for place, settings in enumerate(tried.values())},
    }
    widened = {**base["search"], "optimizer": wider(space["search"]["optimizer"])}
    own = values(home / "tried", {**base, "search": widened}, len(tried), chosen.epochs)
    others_drawn = values(home / "drawn", {**base, "enqueue": {}}, drawn, chosen.epochs)
    return {**{title: [value] for title, value in zip(tried, own, strict=True)}, "drawn": others_drawn}


def values(home: Path, space: Settings, trials: int, epochs: int) -> list[float]:
    """Run a study and return the objective of each trial; 0 of one that failed."""
    home.mkdir(parents=True)
    run_sweep(home, {**space, "study": "recipes", "budget": {"trials": trials, "epochs": epochs}}, None, "--no-report")
    words = [sys.executable, "-m", "sweeper", "status", "recipes", "--json"]
    said = subprocess.run(words, cwd=home, env=environment(), check=True, capture_output=True, text=True)
    return [trial["value"] or 0.0 for trial in json.loads(said.stdout)["trials"]]


def backbone_of(space: Settings) -> str:
    """Return the network of the recipe, or else the first one that is searched."""
    (_, recipe), *_ = space["enqueue"].items()
    searched = space["search"]["backbone"]
    first = searched if isinstance(searched, str) else searched["choice"][0]
    return str(recipe.get("backbone", first))


def wider(optimizer: Mapping[str, Any]) -> Settings:
    """Return the optimizers of a space, SGD among them, with rates that hold those of the variants too."""
    sgd = {"name": "sgd", "lr": {"float": [0.01, 0.3], "log": True}}
    changed = deepcopy(dict(optimizer) if "choice" in optimizer else {"choice": [dict(optimizer), sgd]})
    for option in changed["choice"]:
        low, high = option["lr"]["float"]
        option["lr"]["float"] = [low / 3, high * 3]
    return changed


def section(chosen: Set, space: Settings, found: list[dict[str, list[float]]]) -> Section:
    """Show the recipe beside the others; each figure of a row is of one seed."""
    metric = space["objective"]["metric"]
    rows = [
        Measurement(f"{title}: {metric}", "", [one[title][0] for one in found])
        for title in found[0]
        if title != "drawn"
    ]
    drawn = [one["drawn"] for one in found]
    rows += [
        Measurement(f"the median of {len(drawn[0])} settings drawn: {metric}", "", list(map(statistics.median, drawn))),
        Measurement(f"the best of them: {metric}", "", list(map(max, drawn))),
        Measurement(
            "of them better than the recipe",
            "",
            [float(sum(value > one["the recipe"][0] for value in one["drawn"])) for one in found],
        ),
    ]
    title = f"{chosen.about}: {backbone_of(space)}, {chosen.epochs} epochs, recipe {next(iter(space['enqueue']))}"
    return Section(title, rows)


if __name__ == "__main__":
    main()

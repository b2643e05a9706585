"""How well each method of `sweeper data clean` finds what was planted: wrong labels and foreign images.

    python benchmarks/cleaning.py FOLDER --weights FILE [--backbone tf_efficientnet_lite0] [--json FILE]

FOLDER holds a class folder for each class, such as tiny-imagenet-200/train. Some classes are drawn; 5 % of their
images get the label of another of them, and as many images of the remaining classes are added under their labels.
Each method ranks all images; as many as were planted are taken from the top, so that precision equals recall.
Repeats plant anew; features are computed once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sweeper.curation.features import image_features
from sweeper.curation.outliers import Method, compact, outlier_scores, suggested_labels
from sweeper.data.scan import find_images, subfolders

FOREIGN = -1


@dataclass(frozen=True)
class Pool:
    """Features [N, D] of images of the chosen classes, labels 0 to C - 1, and of foreign ones, label -1."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Planted:
    """Rows of the pool, the label each goes under, and which are wrong or foreign, all [N]."""

    rows: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    foreign: np.ndarray


def main() -> None:
    options = arguments()
    started = time.perf_counter()
    pool = compute_pool(options)
    seconds = time.perf_counter() - started
    found = {method: [measure(method, pool, options, seed) for seed in range(options.repeats)] for method in methods()}
    Console().print(table(found))
    if options.json:
        settings = {
            name: Path(value).name if isinstance(value, str | Path) else value for name, value in vars(options).items()
        }
        content = {"options": settings, "feature_seconds": seconds, "images": len(pool.labels), "methods": found}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--per-class", type=int, default=120)
    parser.add_argument("--planted", type=float, default=0.05, help="share of each kind")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the drawn classes")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def methods() -> tuple[Method, ...]:
    return get_args(Method)


def compute_pool(options: argparse.Namespace) -> Pool:
    names = np.random.default_rng(options.seed).permutation(subfolders(options.folder)).tolist()
    files, labels = [], []
    for number, name in enumerate(names[: options.classes]):
        chosen = find_images(options.folder / name)[: options.per_class]
        files += [str(options.folder / name / path) for path in chosen]
        labels += [number] * len(chosen)
    others = names[options.classes :]
    wanted = -(-2 * round(options.planted * len(labels)) // len(others))  # twice as many as one repeat plants
    for name in others:
        chosen = find_images(options.folder / name)[:wanted]
        files += [str(options.folder / name / path) for path in chosen]
        labels += [FOREIGN] * len(chosen)
    found = image_features(
        files,
        backbone=options.backbone,
        pretrained=options.weights,
        image_size=options.image_size,
        batch_size=32,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    return Pool(found.values, np.array(labels)[found.rows])


def plant(pool: Pool, share: float, seed: int) -> Planted:
    random = np.random.default_rng(seed)
    own = np.flatnonzero(pool.labels != FOREIGN)
    count, classes = round(share * len(own)), int(pool.labels.max()) + 1
    labels = pool.labels.copy()
    wrong = random.choice(own, count, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, classes, count)) % classes
    foreign = random.choice(np.flatnonzero(pool.labels == FOREIGN), count, replace=False)
    labels[foreign] = random.integers(0, classes, count)
    rows = np.concatenate([own, foreign])
    return Planted(rows, labels[rows], np.isin(rows, wrong), np.isin(rows, foreign))


def measure(method: Method, pool: Pool, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return precision (equal to recall) at the planted count, recall of each kind, and how good suggestions are."""
    planted = plant(pool, options.planted, seed)
    started = time.perf_counter()
    features = compact(pool.features[planted.rows])
    scores = outlier_scores(features, planted.labels, method)
    seconds = time.perf_counter() - started
    taken = np.argsort(-scores, kind="stable")[: planted.wrong.sum() + planted.foreign.sum()]
    suggested = suggested_labels(features, planted.labels, np.flatnonzero(planted.wrong))
    truth = pool.labels[planted.rows][planted.wrong]
    return {
        "precision": float((planted.wrong | planted.foreign)[taken].mean()),
        "wrong_label_recall": float(planted.wrong[taken].sum() / planted.wrong.sum()),
        "foreign_recall": float(planted.foreign[taken].sum() / planted.foreign.sum()),
        "suggestions_right": float((suggested == truth).mean()),
        "seconds": seconds,
    }


def table(found: dict[Method, list[dict[str, float]]]) -> Table:
    shown = Table(title="median (smallest to largest) over repeats")
    names = list(next(iter(found.values()))[0])
    for heading in ("method", *names):
        shown.add_column(heading.replace("_", " "))
    for method, repeats in found.items():
        columns = [[repeat[name] for repeat in repeats] for name in names]
        shown.add_row(method, *(f"{statistics.median(c):.3f} ({min(c):.3f} to {max(c):.3f})" for c in columns))
    return shown


if __name__ == "__main__":
    main()

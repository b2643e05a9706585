"""What is wrong or odd with a data set: copies, contradicting labels, unreadable files, balance, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeper.curation.duplicates import NEAR_BITS, Group, Kind, duplicate_groups
from sweeper.curation.file_facts import Facts, gather
from sweeper.curation.image_list import ImageList
from sweeper.data.decode import bits_of
from sweeper.data.labels import written
from sweeper.data.notes import Notes
from sweeper.data.progress import Progress
from sweeper.data.scan import counted

LONGEST_SHAPE = 3.0
"""Ratio of the sides from which a shape is odd."""

ODD_AREA = 16.0
"""How many times smaller or larger than the median an image's area is odd."""

IMBALANCE = 10.0
"""Ratio of the largest to the smallest class from which balance is worth a setting of its own."""

SHOWN = 5
"""Groups of look-alike classes, or files, that a line names."""


@dataclass(frozen=True)
class Line:
    """One line of the table: what was looked at, how much was found, and whether it spoils training or judging."""

    subject: str
    count: int
    detail: str
    serious: bool = False


@dataclass(frozen=True)
class CheckReport:
    """All that was found; `counts` has the images of every class by split, `odd` maps rows to what is odd."""

    images: ImageList
    facts: Facts
    groups: list[Group]
    counts: dict[str, Counter[str]]
    missing: dict[str, list[str]]
    odd: dict[int, str]

    @property
    def splits(self) -> list[str]:
        return list(self.counts)

    @property
    def serious(self) -> bool:
        return any(line.serious and line.count for line in lines(self))

    def as_json(self) -> dict[str, Any]:
        paths = self.images.paths
        return {
            "root": str(self.images.root),
            "images": len(self.images),
            "serious": self.serious,
            "findings": [{"what": line.subject, "count": line.count, "serious": line.serious} for line in lines(self)],
            "missing_files": list(self.images.notes.absent),
            "unreadable": {paths[row]: reason for row, reason in sorted(self.facts.bad.items())},
            "duplicates": [
                {
                    "kind": group.kind,
                    "splits": group.splits,
                    "classes": group.labels,
                    "paths": [paths[row] for row in group.rows],
                }
                for group in self.groups
            ],
            "missing_classes": self.missing,
            "odd_sizes": {paths[row]: why for row, why in sorted(self.odd.items())},
            "modes": dict(Counter(mode for mode in self.facts.modes if mode).most_common()),
            "classes": {split: dict(counts) for split, counts in self.counts.items()},
        }


def check(images: ImageList, near_bits: int = NEAR_BITS, progress: Progress | None = None) -> CheckReport:
    """Look at every image once and compare them. Raises DatasetError when a decoding process is killed."""
    facts = gather(images, progress)
    counts = {split: Counter[str]() for split in dict.fromkeys(images.splits)}
    for row, (label, split) in enumerate(zip(images.labels, images.splits, strict=True)):
        counts[split][label] += row not in facts.bad
    missing = {split: [name for name in images.classes if not held[name]] for split, held in counts.items()}
    return CheckReport(
        images,
        facts,
        duplicate_groups(images, facts, near_bits),
        counts,
        {split: names for split, names in missing.items() if names},
        odd_sizes(facts),
    )


def odd_sizes(facts: Facts) -> dict[int, str]:
    """Return the rows whose shape or size is far from the others', with width and height."""
    readable = np.flatnonzero(facts.size[:, 0])
    sides = facts.size[readable].astype(np.float64)
    if not readable.size:
        return {}
    area = sides.prod(axis=1)
    apart = np.maximum(area / np.median(area), np.median(area) / area)
    shape = sides.max(axis=1) / sides.min(axis=1)
    odd = readable[(apart > ODD_AREA) | (shape > LONGEST_SHAPE)]
    return {row: f"{facts.size[row, 0]} x {facts.size[row, 1]}" for row in odd.tolist()}


def lines(report: CheckReport) -> list[Line]:
    """Return the lines of the table, the serious ones first."""
    return [
        Line("unreadable", len(report.facts.bad), "damaged or incomplete images", serious=True),
        *_copy_lines(report.groups),
        Line("classes missing in a split", sum(map(len, report.missing.values())), _missing(report), serious=True),
        *_note_lines(report.images.notes),
        *_balance_lines(report),
        *_depth_lines(report.facts),
        Line("odd sizes", len(report.odd), _sizes(report.facts)),
        Line("modes", len(set(report.facts.modes) - {""}), _modes(report.facts)),
    ]


def _note_lines(notes: Notes) -> list[Line]:
    alike = "; ".join(written(names) for names in notes.look_alikes[:SHOWN])
    questions = "; ".join(
        f"{found.crossing:,} of {found.values:,} values of {found.name}; {found.key} keeps each in one"
        for found in notes.suspicions
    )
    return [
        Line("files that do not exist", len(notes.absent), ", ".join(notes.absent[:SHOWN]), serious=True),
        Line("labels that may be no classes", int(bool(notes.odd_labels)), notes.odd_labels),
        Line("classes that look alike", len(notes.look_alikes), alike, serious=True),
        Line("rows without a label", sum(notes.skipped.values()), counted(notes.skipped), serious=True),
        Line("groups in several splits, perhaps", len(notes.suspicions), questions),
        Line("files left out", sum(notes.others.values()), counted(notes.others)),
    ]


def _depth_lines(facts: Facts) -> list[Line]:
    deep = facts.largest[facts.largest > 0]
    if not deep.size:
        return []
    largest = int(deep.max())
    detail = f"largest value {largest:,}: {bits_of(largest)} bits are taken, unless dataset.bits says otherwise"
    return [Line("images with more than 8 bits", len(deep), detail)]


def _copy_lines(groups: Sequence[Group]) -> list[Line]:
    across = [group for group in groups if group.across_splits]
    contradicting = [group for group in groups if group.across_classes]
    within = [group for group in groups if not group.across_splits and not group.across_classes]
    return [
        Line(
            "copies across splits",
            len(across),
            f"groups: {kinds(across)}; a model is judged on images of its training",
            True,
        ),
        Line("one image, two labels", len(contradicting), f"groups: {kinds(contradicting)}", True),
        Line("copies within a class and split", len(within), f"groups: {kinds(within)}"),
    ]


def kinds(groups: Sequence[Group]) -> str:
    """Tell how many groups there are of each kind."""
    names: dict[Kind, str] = {"bytes": "of equal bytes", "pixels": "of equal pixels", "near": "near"}
    found = Counter(group.kind for group in groups)
    return ", ".join(f"{found[kind]:,} {name}" for kind, name in names.items() if found[kind]) or "none"


def _missing(report: CheckReport) -> str:
    return "; ".join(f"{split}: {', '.join(names[:5])}" for split, names in report.missing.items())


def _balance_lines(report: CheckReport) -> list[Line]:
    found = []
    for split, counts in report.counts.items():
        held = {name: count for name, count in counts.items() if count}
        if not held:
            continue
        largest, smallest = max(held, key=held.__getitem__), min(held, key=held.__getitem__)
        ratio = held[largest] / held[smallest]
        detail = f"{smallest} {held[smallest]:,} to {largest} {held[largest]:,} images, ratio {ratio:.1f}"
        uneven = sum(held[largest] / count >= IMBALANCE for count in held.values())
        found.append(Line(f"classes {IMBALANCE:.0f} times smaller in {split}", uneven, detail))
    return found


def _sizes(facts: Facts) -> str:
    sides = facts.size[facts.size[:, 0] > 0]
    if not sides.size:
        return ""
    (left, top), (right, bottom) = sides.min(axis=0).tolist(), sides.max(axis=0).tolist()
    width, height = np.median(sides, axis=0).astype(int).tolist()
    return f"from {left} x {top} to {right} x {bottom}, median {width} x {height}"


def _modes(facts: Facts) -> str:
    return ", ".join(f"{mode} {count:,}" for mode, count in Counter(mode for mode in facts.modes if mode).most_common())

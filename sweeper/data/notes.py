"""What was noticed while a data set was listed and split: reported before the training, refused where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.data.groups import Suspicion
from sweeper.data.labels import written
from sweeper.data.leaks import Leak
from sweeper.data.listing import Split, enumerated
from sweeper.data.scan import counted
from sweeper.safeguards.quantity import quantity

COPY = ("image is an exact copy of another", "images are exact copies of others")
LEFT_OUT = ("image left out, which is", "images left out, which are")
MUCH = 0.1
"""The share of a split from which on it matters that it was left out."""

GIVEN = "given"
"""The origin of a split that was not drawn."""


@dataclass(frozen=True)
class Notes:
    """Facts about files, labels and splits of a data set."""

    origin: Mapping[Split, str] = field(default_factory=dict)
    """Where each split comes from."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column of a CSV file was taken for what."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Files beside the images that are none, by their kind."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Rows without a label that were left out, by what stood there."""
    look_alikes: tuple[tuple[str, ...], ...] = ()
    """Classes that differ in nothing that can be seen or meant."""
    merged: tuple[tuple[str, ...], ...] = ()
    """Such classes that were made one."""
    copies: int = 0
    """Images with the same bytes as an earlier one."""
    two_labels: tuple[tuple[str, ...], ...] = ()
    """Files of equal bytes in several classes."""
    groups: str = ""
    """What images belong together by."""
    leaks: tuple[Leak, ...] = ()
    dropped: Mapping[Split, int] = field(default_factory=dict)
    """How many images of a split were left out for being in a later split too."""
    sizes: Mapping[Split, int] = field(default_factory=dict)
    """How many images each split had before."""
    excluded: int = 0
    """Images left out by a list."""
    absent: tuple[str, ...] = ()
    """Files that a list names and that are not there, left out."""
    odd_labels: str = ""
    """What makes labels look like no classes."""
    suspicions: tuple[Suspicion, ...] = ()
    folds: int = 0
    """Parts for cross-validation, in place of a validation split."""
    pooled: int = 0
    """Images of a given validation split that are in the folds."""

    @property
    def parts(self) -> str:
        """What images that belong together are in one of."""
        return "fold" if self.folds else "split"

    def facts(self) -> list[str]:
        """Return what a user may want to know and need not act upon."""
        columns = ", ".join(f"{what} = {name}" for what, name in self.columns.items())
        lines = [f"columns: {columns}"] if columns else []
        if self.others:
            lines.append(f"left out: {counted(self.others)}")
        if self.groups:
            lines.append(f"{self.groups} stay in one {self.parts}")
        if self.copies:
            together = (
                "" if any(leak.kind == "copies" for leak in self.leaks) else f", in the same {self.parts} as these"
            )
            lines.append(f"{quantity(self.copies, *COPY)}{together}")
        if self.merged:
            lines.append(f"classes made one (dataset.labels: normalize):\n{enumerated([*map(written, self.merged)])}")
        if self.excluded:
            lines.append(f"{quantity(self.excluded, 'image')} left out by a list (dataset.exclude)")
        if self.dropped:
            many = quantity(sum(self.dropped.values()), *LEFT_OUT)
            lines.append(f"{many} in a later split too (dataset.on_leak: drop)")
        return lines

    def warnings(self) -> list[str]:
        """Return what may make a score worth less than it seems, with the remedy."""
        lines = [] if self.dropped else [f"{leak}; {_remedy(leak)}" for leak in self.leaks]
        lines += [
            _much_left_out(split, many, self.sizes[split])
            for split, many in self.dropped.items()
            if many > MUCH * self.sizes[split]
        ]
        lines += [self.odd_labels] if self.odd_labels else []
        if self.absent:
            lines.append(
                f"rows whose file does not exist left out (dataset.on_bad_image: skip):\n{enumerated(self.absent)}"
            )
        if self.look_alikes:
            alike = enumerated([*map(written, self.look_alikes)])
            lines.append(f"classes look alike; dataset.labels: normalize makes each line one class:\n{alike}")
        if self.skipped:
            lines.append(f"rows without a label left out: {counted(self.skipped)} (dataset.missing_labels: skip)")
        if self.two_labels:
            groups = [" = ".join(group) for group in self.two_labels]
            many = "1 picture is" if len(groups) == 1 else f"{len(groups):,} pictures are"
            lines.append(f"{many} in several classes:\n{enumerated(groups)}\nCorrect the labels.")
        if self.pooled:
            lines.append(
                f"the {self.pooled:,} images of the given validation split are in the folds with the training images "
                "(dataset.folds); if that split was made to keep related images together, name the groups with "
                "dataset.group_column or dataset.group_from"
            )
        return lines + [_question(suspicion, self.parts) for suspicion in self.suspicions]


def _much_left_out(split: Split, many: int, of: int) -> str:
    return (
        f"dataset.on_leak: drop leaves out {many:,} of {of:,} {split} images; to keep them, put images that belong "
        "together into one split: ignore the split column (dataset.csv.split_column: false), or write new splits with "
        "sweeper data split --split-column false"
    )


def _remedy(leak: Leak) -> str:
    return f"a score on them is too good: dataset.on_leak: drop leaves them out of {leak.split}"


def _question(found: Suspicion, part: str) -> str:
    return (
        f"do images with the same {found.name} belong together? {found.crossing:,} of its {found.values:,} values "
        f"are in several {part}s, and then scores are too good; {found.key} keeps each in one"
    )

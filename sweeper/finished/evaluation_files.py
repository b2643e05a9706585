"""What `sweeper evaluate` writes, and how each of its files is known again."""

from __future__ import annotations

import re

from sweeper.paths import EvaluationFolder
from sweeper.safeguards.outputs import PICTURE, Kind, Output
from sweeper.scores.confusion import CONFUSION

CLASS_COLUMNS = ("precision", "recall", "f1", "images")
CLASSES = Kind("table of classes", re.compile(",".join(("class", *CLASS_COLUMNS)).encode() + b"\n"))
SCORES = Kind(
    "file of scores", re.compile(rb'\{\n  "model": .*\n  "trial": .*\n  "split": .*\n  "data": .*\n  "digest": ')
)


def outputs_of(files: EvaluationFolder) -> list[Output]:
    """Return every file that an evaluation may write into a folder."""
    kinds = {
        files.confusion: CONFUSION,
        files.picture: PICTURE,
        files.classes: CLASSES,
        files.reconstructions: PICTURE,
        files.scores: SCORES,
    }
    return [Output(path, kind, "--to") for path, kind in kinds.items()]

"""What `sweeper evaluate` writes, and how each of its files is known again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sweeper.paths import EvaluationFolder
from sweeper.safeguards.outputs import PICTURE, Kind, Output, require_free
from sweeper.scores.confusion import CONFUSION

CLASS_COLUMNS = ("precision", "recall", "f1", "images")
CLASSES = Kind("table of classes", re.compile(",".join(("class", *CLASS_COLUMNS)).encode() + b"\n"))
SCORES = Kind(
    "file of scores", re.compile(rb'\{\n  "model": .*\n  "trial": .*\n  "split": .*\n  "data": .*\n  "digest": ')
)


def outputs_of(files: EvaluationFolder, option: str = "--to", *, force: bool | None) -> list[Output]:
    """Return every file that an evaluation may write into a folder."""
    kinds = {
        files.confusion: CONFUSION,
        files.picture: PICTURE,
        files.classes: CLASSES,
        files.reconstructions: PICTURE,
        files.scores: SCORES,
    }
    return [Output(path, kind, option, force=force) for path, kind in kinds.items()]


def write_files(files: EvaluationFolder, contents: Mapping[Path, bytes | str], *, force: bool | None) -> list[Path]:
    """Write files of an evaluation and return their paths.

    Raises ConfigError, before any is written, where one of them would replace a file that is not ours or was edited.
    """
    outputs = [output for output in outputs_of(files, force=force) if output.path in contents]
    require_free(outputs)
    for output in outputs:
        output.write(contents[output.path])
    return list(contents)

"""What `sweeper evaluate` writes, and how each of its files is known again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from sweeper.errors import ConfigError, Problem
from sweeper.paths import EvaluationFolder
from sweeper.safeguards.outputs import PICTURE, Kind, Output, require_free
from sweeper.safeguards.printable import one_line
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


def require_same_subject(
    files: EvaluationFolder, model: str, split: str, digest: str, data: str, *, force: bool
) -> None:
    """Raise ConfigError, before the long work, where a folder has scores of another model or on other images.

    They are a result, too. `split` and `digest` say by which images the files are to be written; `data` is what these
    are called, `model` is a study, whose winner may be another one by now, or the path of an export.
    """
    try:
        earlier = json.loads(files.scores.read_bytes())
        then, named = (str(earlier["split"]), str(earlier["digest"])), str(earlier["data"])
        judged = str(earlier["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing is there, or what is refused as not ours
    if then != (split, digest) and not force:
        rule = f"{files.scores} has scores on other images: {then[0]} images of {named}, digest {then[1]}, and not"
        remedy = "name another folder, or replace them with --force"
        problem = f"{rule} {split} images of {data}, digest {digest}; {remedy}"
        raise ConfigError([Problem("--to", "", one_line(problem))])
    if not (force or _are_one(judged, model)):
        rule = f"{files.scores} has scores of {judged}, and not of {model}; name another folder, or replace them"
        raise ConfigError([Problem("--to", "", one_line(f"{rule} with --force"))])


def _are_one(first: str, second: str) -> bool:
    """Return whether two names mean one model: an export's folder bears the name of its study."""
    paths = Path(first), Path(second)
    of_one_study = first == paths[1].name or second == paths[0].name
    return of_one_study or paths[0].resolve() == paths[1].resolve()


def write_files(files: EvaluationFolder, contents: Mapping[Path, bytes | str], *, force: bool | None) -> list[Path]:
    """Write files of an evaluation and return their paths.

    Raises ConfigError, before any is written, where one of them would replace a file that is not ours or was edited.
    """
    outputs = [output for output in outputs_of(files, force=force) if output.path in contents]
    require_free(outputs)
    for output in outputs:
        output.write(contents[output.path])
    return list(contents)

"""Where pretrained weights come from, when it is an earlier study: `study:NAME/best` or `study:NAME/NUMBER`."""

from __future__ import annotations

import re
from typing import NamedTuple

STUDY = "study:"
REFERENCE = re.compile(r"study:(?P<study>[A-Za-z0-9][A-Za-z0-9._-]{0,99})/(?P<trial>best|\d{1,9})")


class StudyReference(NamedTuple):
    """A trial of another study; without a number its best one."""

    study: str
    trial: int | None


def study_reference(pretrained: bool | str) -> StudyReference | None:
    """Return the trial that a value of `pretrained` refers to, None where it is anything else.

    Raises ValueError for one that begins like a reference and is none.
    """
    if not isinstance(pretrained, str) or not pretrained.startswith(STUDY):
        return None
    found = REFERENCE.fullmatch(pretrained)
    if found is None:
        raise ValueError(
            f"a study's weights are written study:NAME/best or study:NAME/NUMBER, as in study:cifar10/best, "
            f"got {pretrained}"
        )
    return StudyReference(found["study"], None if found["trial"] == "best" else int(found["trial"]))


def is_a_source(pretrained: bool | str) -> bool | str:
    """Return a value of `pretrained` as it is. Raises ValueError for an empty text, and as above."""
    if pretrained == "":
        raise ValueError("should be true, false, a path or study:NAME/best, got ''")
    study_reference(pretrained)
    return pretrained

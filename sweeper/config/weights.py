"""Where pretrained weights, or a teacher, come from: an earlier study, as `study:NAME/best` or `study:NAME/NUMBER`.

A teacher may be several of its trials as well: `study:NAME/ensemble`.
"""

from __future__ import annotations

import re

from sweeper.config.trial_name import STUDY, TrialName, parse_trial_name

PREFIX = "study:"
ENSEMBLE = re.compile(rf"{PREFIX}(?P<study>{STUDY})/ensemble")


def study_reference(pretrained: bool | str) -> TrialName | None:
    """Return the trial that a value of `pretrained` refers to, None where it is anything else.

    Raises ValueError for one that begins like a reference and is none.
    """
    if not isinstance(pretrained, str) or not pretrained.startswith(PREFIX):
        return None
    try:
        name = parse_trial_name(pretrained.removeprefix(PREFIX))
    except ValueError:
        name = None
    if name is None or name.run or "/" not in pretrained:
        raise ValueError(
            f"a study's weights are written study:NAME/best or study:NAME/NUMBER, as in study:cifar10/best, "
            f"got {pretrained}"
        )
    return name


def ensemble_reference(teacher: str) -> str | None:
    """Return the study whose ensemble a teacher is, None where it is anything else."""
    found = ENSEMBLE.fullmatch(teacher)
    return found["study"] if found else None


def is_a_source(pretrained: bool | str) -> bool | str:
    """Return a value of `pretrained` as it is. Raises ValueError for an empty text, for an ensemble, and as above."""
    if pretrained == "":
        raise ValueError("should be true, false, a path or study:NAME/best, got ''")
    if isinstance(pretrained, str) and (study := ensemble_reference(pretrained)):
        raise ValueError(
            f"should be one network, and an ensemble is several, which can be a teacher alone; name "
            f"{PREFIX}{study}/best, got {pretrained}"
        )
    study_reference(pretrained)
    return pretrained


def is_a_teacher(name: str) -> str:
    """Return the name of a teacher as it is. Raises ValueError where it names none, and as above."""
    if name in ("", "none"):
        raise ValueError(f"should be study:NAME/best, study:NAME/ensemble or the folder of an export, got {name!r}")
    if ensemble_reference(name) is None:
        study_reference(name)
    return name

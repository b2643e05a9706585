"""Where pretrained weights, or a teacher, come from: an earlier study, as `study:NAME/best` or `study:NAME/NUMBER`."""

from __future__ import annotations

from sweeper.config.trial_name import TrialName, parse_trial_name

PREFIX = "study:"


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


def is_a_source(pretrained: bool | str) -> bool | str:
    """Return a value of `pretrained` as it is. Raises ValueError for an empty text, and as above."""
    if pretrained == "":
        raise ValueError("should be true, false, a path or study:NAME/best, got ''")
    study_reference(pretrained)
    return pretrained


def is_a_teacher(name: str) -> str:
    """Return the name of a teacher as it is. Raises ValueError where it names none, and as above."""
    if name in ("", "none"):
        raise ValueError(f"should be study:NAME/best or the folder of an export, got {name!r}")
    study_reference(name)
    return name

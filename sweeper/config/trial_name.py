"""How a trial is named wherever one is meant: STUDY, STUDY/best, STUDY/NUMBER, or the id of its MLflow run."""

from __future__ import annotations

import re
from dataclasses import dataclass

STUDY = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
BEST = "best"
NAME = re.compile(rf"(?P<study>{STUDY})(/(?P<trial>{BEST}|\d{{1,9}}))?/?")
"""A slash at the end is what a shell adds where a folder has the name."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
FORMS = "STUDY, STUDY/best, STUDY/NUMBER, or the id of an MLflow run"


@dataclass(frozen=True)
class TrialName:
    """A trial of a study, without a number its best one; or, where `run` is set, the trial that this run records."""

    study: str = ""
    number: int | None = None
    run: str = ""

    def __str__(self) -> str:
        return self.run or f"{self.study}/{BEST if self.number is None else self.number}"


def parse_trial_name(text: str) -> TrialName:
    """Return what a name stands for. Raises ValueError where it has none of the forms."""
    if RUN_ID.fullmatch(text):
        return TrialName(run=text)
    found = NAME.fullmatch(text)
    if found is None:
        raise ValueError(f"a trial is named {FORMS}, got {text!r}")
    trial = found["trial"]
    return TrialName(found["study"], None if trial in (None, BEST) else int(trial))

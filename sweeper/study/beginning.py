"""What the trials of a study begin with beside their settings: files of other trials, which are kept here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.paths import StudyFolder, Workspace
from sweeper.results import Teacher, TrialSpec, TrialStart
from sweeper.study.continue_from import kept_start
from sweeper.study.pretrained import kept_files
from sweeper.study.teachers import kept_teachers
from sweeper.tracking.delivery import StudyCard


@dataclass(frozen=True)
class Beginning:
    """Files by what refers to them in a configuration, and what all trials go on from, if from anything.

    Attributes:
        weights: By values of `pretrained`.
        teachers: By their names in `teacher`.
        start: What a trial of another study has left.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    start: TrialStart | None = None

    def of(self, spec: TrialSpec) -> TrialSpec:
        """Return a trial with the files that it begins with."""
        weights = self.weights.get(str(spec.config.pretrained))
        teacher = self.teachers.get(spec.config.teacher.name)
        return spec.model_copy(update={"weights": weights, "teacher": teacher, "start": self.start})


WITHOUT_FILES = Beginning()


def beginning_of(card: StudyCard, folder: StudyFolder, workspace: Workspace) -> Beginning:
    """Return what the trials of the study in `folder` begin with, which its card names."""
    teachers = kept_teachers(card.teachers, workspace)
    return Beginning(kept_files(card.pretrained, workspace), teachers, kept_start(workspace, folder))

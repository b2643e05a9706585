"""An export as a teacher: what its config.json says of its networks and its classes.

Read here without torch and without what else an export holds (`export/export_config.py` is the whole of it).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from sweeper.config.bounds import ImageSide
from sweeper.config.hyperparameters import HeadConfig, TestTimeAugmentation, TrialConfig
from sweeper.errors import StudyError
from sweeper.paths import ExportFolder
from sweeper.seal import SEAL, seal_of


class _Network(BaseModel):
    architecture: Annotated[str, Field(min_length=1)]
    head: HeadConfig
    test_time_augmentation: TestTimeAugmentation = "none"


class _Dataset(BaseModel):
    digest: str


class ExportedTeacher(_Network):
    """The part of a config.json that a teacher needs."""

    format: Literal["sweeper-export"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: ImageSide
    form: Literal["single", "soup", "ensemble"] = "single"
    members: tuple[_Network, ...] = ()
    model_files: tuple[str, ...] = ()
    dataset: _Dataset | None = None
    cross_validation: dict[str, Any] | None = None

    @property
    def seen(self) -> str | None:
        """The digest of the images where it has seen them all, since its study was cross-validated."""
        return self.dataset.digest if self.dataset and self.cross_validation else None

    @property
    def networks(self) -> tuple[TrialConfig, ...]:
        """What has to be built: one network, or each member of an ensemble."""
        made = self.members if self.form == "ensemble" else (self,)
        return tuple(
            network_of(each.architecture, each.head, self.image_size, each.test_time_augmentation) for each in made
        )


def network_of(backbone: str, head: HeadConfig, image_size: int, mirrored: TestTimeAugmentation) -> TrialConfig:
    """Return what `build_classifier` needs for a network whose weights are loaded right after."""
    return TrialConfig(backbone=backbone, head=head, image_size=image_size, test_time_augmentation=mirrored)


def read_exported_teacher(folder: Path) -> ExportedTeacher:
    """Read the configuration of a classifier's export. Raises StudyError where it is none, or not as it was written."""
    file = ExportFolder(folder).config
    try:
        content = json.loads(file.read_bytes())
        if content.get(SEAL) not in (None, seal_of(content)):
            raise StudyError(f"{file} is damaged or edited; export the model again")
        return ExportedTeacher.model_validate(content)
    except OSError as error:
        raise StudyError(
            f"{folder} is not the folder of an export: config.json cannot be read ({error.strerror})"
        ) from error
    except (ValidationError, ValueError, AttributeError) as error:
        raise StudyError(f"{file} does not describe the export of a classifier; name the folder of one") from error

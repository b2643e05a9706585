"""What is recorded beside MLflow: the `tracking` section."""

from __future__ import annotations

from pydantic import Field

from sweeper.config.frozen import Frozen
from sweeper.config.plain_name import PlainName


class TrackingConfig(Frozen):
    """How trials are recorded. May be changed while a study is continued."""

    name: PlainName | None = Field(
        None,
        description="Name of the experiment and the model in MLflow, by default the study's name: for a server on "
        "which another study has that name. It counts only when they are first made; later the study's id finds them.",
    )

    tensorboard: bool = Field(
        False,
        description="Write the metrics of every trial to event files too, in tensorboard/STUDY/, for "
        "`tensorboard --logdir tensorboard`; needs the extra `tensorboard` (README.md).",
    )

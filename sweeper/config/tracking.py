"""What is recorded beside MLflow: the `tracking` section."""

from __future__ import annotations

from pydantic import Field

from sweeper.config.frozen import Frozen
from sweeper.config.plain_name import PlainName


class TrackingConfig(Frozen):
    """How trials are recorded. May be changed while a study is continued."""

    name: PlainName | None = Field(
        None,
        description="What the experiment and the model are called in MLflow, by default as the study: for a server on "
        "which another study has that name. Counts where they are made; they are found by the study's id.",
    )

    tensorboard: bool = Field(
        False,
        description="Write the metrics of every trial to event files too, in tensorboard/STUDY/, for "
        "`tensorboard --logdir tensorboard`; needs the extra `sweeper[tensorboard]`.",
    )

"""What is recorded beside MLflow: the `tracking` section."""

from __future__ import annotations

from pydantic import Field

from sweeper.config.hyperparameters import Frozen


class TrackingConfig(Frozen):
    """Records beside those in MLflow. May be changed while a study is continued."""

    tensorboard: bool = Field(
        False,
        description="Write the metrics of every trial to event files too, in tensorboard/STUDY/, for "
        "`tensorboard --logdir tensorboard`; needs the extra `sweeper[tensorboard]`.",
    )

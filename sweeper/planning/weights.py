"""Whether the pretrained weights of a search space are here or can be fetched."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.weights import PREFIX
from sweeper.errors import ModelError
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.hub import cached_names, offline_problem

PATIENCE_S = 3.0
HUB = "https://huggingface.co"


def weights_problem(config: TrialConfig) -> str | None:
    """Return why a trial cannot begin with its weights; None where it can, or that is known at its start alone."""
    pretrained = config.pretrained
    if pretrained is False or (isinstance(pretrained, str) and pretrained.startswith(PREFIX)):
        return None
    if pretrained is True:
        return None if is_cached(config.backbone) or hub_answers() else offline_problem(config.backbone)
    try:
        build_backbone(config.backbone, str(Path(str(pretrained))), config.drop_rate, config.image_size)
    except ModelError as error:
        return str(error)
    return None


def is_cached(backbone: str) -> bool:
    """Return whether the hub's cache on this machine holds weights of an architecture."""
    wanted, _, tag = backbone.partition(".")
    return any(
        name.partition(".")[0] == wanted and (not tag or name.partition(".")[2] == tag) for name in cached_names()
    )


def hub_answers() -> bool:
    """Return whether the model hub takes a connection; by a setting to use none it does not."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    parts = urlsplit(os.environ.get("HF_ENDPOINT") or HUB)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), PATIENCE_S).close()
    except OSError:
        return False
    return True

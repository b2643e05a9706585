"""Whether the pretrained weights of a search space are here or can be fetched."""

from __future__ import annotations

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.weights import PREFIX
from sweeper.errors import ModelError
from sweeper.modeling.backbones import backbone_of
from sweeper.modeling.hub import hub_answers, in_cache, offline_problem
from sweeper.modeling.hub_weights import hub_name


def weights_problem(config: TrialConfig) -> str | None:
    """Return why a trial cannot begin with its weights; None where it can, or that is known at its start alone."""
    pretrained = config.pretrained
    if pretrained is False or (isinstance(pretrained, str) and pretrained.startswith(PREFIX)):
        return None
    if pretrained is True:
        place = hub_name(config.backbone)
        return None if place is None or in_cache(place) or hub_answers() else offline_problem(config.backbone)
    try:
        backbone_of(config)
    except ModelError as error:
        return str(error)
    return None

"""What refuses a search, asked before its backbones are ranked: nobody learns only after the ranking that it cannot be.

What depends on the images, such as the classes of a teacher, or on which backbones are left is asked when the search
begins.
"""

from __future__ import annotations

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.paths import Workspace
from sweeper.search.stored_studies import stored_card
from sweeper.study.backbone_ranking import narrowed
from sweeper.study.card import address_of
from sweeper.study.chosen_backbones import ranking_study
from sweeper.study.claim import claim_study
from sweeper.study.lock import study_lock
from sweeper.study.preparation import refuse_impossible
from sweeper.study.pretrained import require_sources
from sweeper.study.recorded import claimed_card, recorded_by
from sweeper.study.teachers import pin_teachers
from sweeper.tracking.acceptance import require_acceptance


def require_possible(sweep: SweepConfig, workspace: Workspace, storage_url: str, tracking_uri: str | None) -> None:
    """Raise what `run_sweep` would for a study that has not begun, whichever of its backbones it will have.

    Raises ConfigError for what cannot be, StudyLocked while another driver runs it, ForeignStudy, TrackingRefused where
    MLflow will not take its records, and StudyError for weights or teachers of studies that are missing.
    """
    if sweep.backbone_ranking is not None:  # whichever they will be, a grid has as many combinations
        names = [str(name) for name in options(sweep.search.backbone)]
        refuse_impossible(narrowed(sweep, names, sweep.backbone_ranking.keep))
    folder, uri = workspace.study(sweep.study), _address_of_ranking(sweep, workspace, storage_url, tracking_uri)
    with study_lock(folder, sweep.study):
        claim = claim_study(workspace, storage_url, sweep.study)
        require_acceptance(workspace, uri, recorded_by(claim, folder, None, sweep.tracking.name))
    require_sources(sweep, storage_url)
    pin_teachers(sweep, {}, workspace, storage_url, uri)


def _address_of_ranking(sweep: SweepConfig, workspace: Workspace, storage_url: str, tracking_uri: str | None) -> str:
    """Return where the study that ranks the backbones will be recorded, and so the search: it may have begun before."""
    name = ranking_study(sweep.study)
    folder = workspace.study(name)
    with study_lock(folder, name):
        claim = claim_study(workspace, storage_url, name)
        return address_of(claimed_card(claim, folder, stored_card(storage_url, name)), workspace, tracking_uri, folder)

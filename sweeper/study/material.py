"""What the trials of a study are trained on, as it is recorded and told; of a simulated study it is nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sweeper.config.engine import SimulateConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.data.index import ImageIndex
from sweeper.data.prepare import Prepared
from sweeper.data.progress import Tell
from sweeper.paths import Workspace
from sweeper.results import SIMULATED
from sweeper.study.opening import Opening, opening, simulated_opening
from sweeper.study.preparation import dataset_card, dataset_name, decoded_sizes, prepare_dataset
from sweeper.tracking.tags import SIMULATED_TAG


@dataclass(frozen=True)
class Material:
    """A data set as runs record it, what to tell before the first trial, and the images unless none are needed."""

    card: DatasetCard
    opening: Opening
    images: Prepared | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """What else every run records of it."""


def material_of(
    sweep: SweepConfig,
    workspace: Workspace,
    workers: str | None,
    tell: Tell,
    require: Callable[[ImageIndex], object],
) -> Material:
    """Decode the images that are not in the cache yet; a simulation reads none. All as of `prepare_dataset`."""
    if isinstance(sweep.engine, SimulateConfig):
        tags = {SIMULATED_TAG: f"nothing was trained; seed {sweep.engine.seed}"}
        return Material(_no_images(sweep), simulated_opening(sweep, sweep.engine, workers), tags=tags)
    prepared = prepare_dataset(sweep, workspace, tell, require)
    return Material(dataset_card(sweep, prepared), opening(sweep, prepared, workers), prepared)


def _no_images(sweep: SweepConfig) -> DatasetCard:
    """Return what stands for a data set, under a digest that no images have: they never mix with trained trials."""
    return DatasetCard(
        name=dataset_name(sweep),
        digest=SIMULATED,
        image_size=decoded_sizes(sweep)[-1],
        classes=(),
        images={},
        class_counts={},
    )

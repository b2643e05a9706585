"""The images by which a finished model is judged: the study's own, or others, and what is to be known of these.

Scores on other images are no result of the study's test split, whatever the split is called. So whether images are the
study's own is decided by their content, and so is whether the model has been trained on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.decode import FULL_DEPTH, Depth
from sweeper.data.decode_all import DIGEST_BYTES
from sweeper.data.image_set import ImageSet
from sweeper.data.leaks import leaks
from sweeper.data.listing import Split
from sweeper.data.other_images import other_images
from sweeper.data.prepare import Prepared, given_depth, prepare
from sweeper.data.progress import Progress
from sweeper.errors import DatasetError, StudyChanged
from sweeper.export.export_config import ExportConfig, Lineage
from sweeper.finished.named_data import NamedData
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.safeguards.quantity import quantity
from sweeper.scores.confusion import read_confusion
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.preparation import dataset_name, require_images_of


@dataclass(frozen=True)
class EvaluatedImages:
    """One split, what the images are called, and in sentences what their scores do not say.

    `own` are those of the study itself: no others may be recorded as its results. `as_named` are then the same images
    under their names below the folder that was named, by which they are compared with what others say of that folder.
    """

    images: ImageSet
    split: Split
    named: str
    own: bool = False
    remarks: tuple[str, ...] = ()
    as_named: ImageSet | None = None


def own_images(
    workspace: Workspace,
    store: StudyStore,
    config: TrialConfig,
    split: Split,
    *,
    takes_others: bool,
    progress: Progress | None = None,
) -> EvaluatedImages:
    """Return a split of a study's own images; `takes_others` is whether a way out is to name other ones.

    Raises DatasetError when the split is missing or was trained on, StudyChanged when the images have changed.
    """
    sweep = store.sweep
    if split == "val" and sweep.dataset.folds:
        raise DatasetError(
            f"{sweep.study} is cross-validated, and its weights have seen all images but the test split; "
            "`sweeper best` says what networks reach on images not seen. Name --split test, or other labelled images "
            "with --data"
        )
    images = prepare(sweep.dataset, config.image_size, workspace, progress).images
    elsewhere = "name the new ones with --data" if takes_others else "run a new study on these"
    require_images_of(workspace, store, images.digest, elsewhere)
    if split not in images.splits:
        ways = "name labelled images that it was not trained on with --data, or " if takes_others else ""
        raise DatasetError(
            f"the data set of {sweep.study} has no {split} split, only {', '.join(images.splits)}; {ways}"
            "set dataset.test_fraction in a new study"
        )
    return EvaluatedImages(images, split, dataset_name(sweep), own=True)


def named_images(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    config: TrialConfig,
    split: Split,
    data: NamedData,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> EvaluatedImages:
    """Return the images at `data`, labelled with a study's classes.

    The study's own images need not be there any more. Raises DatasetError when these cannot be used.
    """
    sweep = store.sweep
    own = _as_trained_on(workspace, store, config.image_size, progress)
    chosen = sweep.dataset.model_dump(include={"resize", "stored_size", "labels", "missing_labels"})
    dataset = data.dataset(sweep.dataset.csv, **chosen)
    depth = own.images.depth if isinstance(own, Prepared) else given_depth(sweep.dataset)
    titled = not isinstance(own, Prepared)  # what a trial leaves names classes by their titles
    if isinstance(own, Prepared):
        classes = own.images.classes
    else:
        classes = _known_classes(workspace, store, row, tracking_uri, own)
    full = depth or FULL_DEPTH
    other = other_images(dataset, split, classes, config.image_size, workspace, full, progress, titled=titled)
    if depth is None:
        _require_plain_depth(other, data.path, sweep.study)
    if isinstance(own, Prepared) and _is_same_split(own, other, split):
        return EvaluatedImages(own.images, split, dataset_name(sweep), own=True, as_named=other.images)
    return EvaluatedImages(other.images, split, str(data.path), remarks=_remarks(own, other, split, str(data.path)))


def images_for_export(
    workspace: Workspace,
    config: ExportConfig,
    store: StudyStore | None,
    split: Split,
    data: NamedData,
    progress: Progress | None = None,
) -> EvaluatedImages:
    """Return the images at `data`, labelled with the classes of an export; `store` is its study where that is here.

    Raises DatasetError when they cannot be used.
    """
    depth = Depth(**config.depth.model_dump())
    of_it = store is not None and is_of(store, config.lineage)
    csv = store.sweep.dataset.csv if store is not None and of_it else None
    dataset = data.dataset(csv, resize=config.resize, stored_size=config.stored_size)
    other = other_images(dataset, split, config.classes, config.image_size, workspace, depth, progress)
    own: Prepared | Exception = StudyChanged(f"the study {config.lineage.study} is not in this folder")
    if store is not None and of_it:
        own = _as_trained_on(workspace, store, config.lineage.hyperparameters.image_size, progress)
    return EvaluatedImages(other.images, split, str(data.path), remarks=_remarks(own, other, split, str(data.path)))


def is_of(store: StudyStore, lineage: Lineage) -> bool:
    """Return whether a study is that of an export, and not another of its name."""
    return lineage.study_id is None or store.identity is None or store.identity.id == lineage.study_id


def _as_trained_on(
    workspace: Workspace, store: StudyStore, size: int, progress: Progress | None
) -> Prepared | DatasetError | StudyChanged:
    """Return the images of a study as its trials had them, or why these are not there."""
    try:
        own = prepare(store.sweep.dataset, size, workspace, progress)
        require_images_of(workspace, store, own.images.digest, "")
    except (DatasetError, StudyChanged) as error:
        return error
    return own


def _known_classes(
    workspace: Workspace, store: StudyStore, row: TrialRow, tracking_uri: str | None, why: Exception
) -> tuple[str, ...]:
    """Return the classes of a trial from what it left. Raises `why` the images do not tell where it left nothing."""
    with tempfile.TemporaryDirectory(prefix="sweeper-classes-") as folder:
        file = fetch_artifacts(workspace, store, row, Path(folder), tracking_uri, ("confusion",)).confusion
        try:
            return tuple(read_confusion(file)[1])
        except ValueError:
            raise why from None


def _require_plain_depth(other: Prepared, data: Path, study: str) -> None:
    """Raise DatasetError for images that could only be read as those of the training were, which are not there."""
    if other.files.deep:
        raise DatasetError(
            f"{data}: {quantity(other.files.deep, 'image has', 'images have')} more than 8 bits. How many of these "
            f"bits the training of {study} used is not known here, because the study's own images are missing; bring "
            "those images back, or evaluate an export: it stores this number"
        )


def _is_same_split(own: Prepared, other: Prepared, split: Split) -> bool:
    """Return whether all images and labels are those of a study's split, which it was not trained on."""
    if split not in own.images.splits or (split == "val" and own.images.folds):
        return False
    return _content(own, split) == _content(other, split)


def _content(prepared: Prepared, split: Split) -> list[tuple[bytes, str]]:
    """Return the digest of each file of a split and its class, sorted: wherever the files lie."""
    images = prepared.images
    digests = [prepared.digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] for row in images.splits[split].tolist()]
    names = [images.classes[label] for label in images.labels[images.splits[split]].tolist()]
    return sorted(zip(digests, names, strict=True))


def _remarks(own: Prepared | Exception, other: Prepared, split: Split, data: str) -> tuple[str, ...]:
    """Say which columns were taken, and whether the model was trained on some of the images, or why that is unknown."""
    columns = tuple(f"{data}: {fact}" for fact in other.index.notes.facts())
    if not isinstance(own, Prepared):
        why = str(own).splitlines()[0].rstrip(":")
        return (
            *columns,
            f"not checked whether the model was trained on images of {data}: {why}",
        )
    trained = own.images.without_validation() if own.images.folds else own.images
    splits = {"train": trained.splits["train"], split: other.images.splits[split] + len(own.index.paths)}
    digests = np.frombuffer(own.digests + other.digests, np.uint8).reshape(-1, DIGEST_BYTES)
    same = np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
    paths: Sequence[str] = [*own.index.paths, *other.index.paths]
    found = leaks(splits, same, "copies", paths)
    said = "the model was trained on some of these images, so that its scores are too high"
    return (*columns, *(f"{said}: {leak}" for leak in found))

"""A study's winner trained again on parts of the training images, to judge the labels of the others."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.config.weights import study_reference
from sweeper.curation.clean import Suspect
from sweeper.curation.confident_learning import Labels, Probabilities, suspects
from sweeper.curation.image_list import ImageList
from sweeper.data.batches import DeviceImages
from sweeper.data.feature_cache import FeatureCache
from sweeper.data.folds import draw_folds
from sweeper.data.image_set import ImageSet
from sweeper.data.index import build_index, units_of
from sweeper.data.prepare import Prepared, prepare, prepare_images
from sweeper.data.progress import Progress
from sweeper.data.splitting import Splits
from sweeper.errors import ConfigError, Problem, StudyError, StudyLocked
from sweeper.files import AlreadyLocked, file_lock, write_whole
from sweeper.finished.classifiers import require_classifiers
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.modeling.weights import read_weights
from sweeper.paths import FoldsFolder, TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.arrays import packed, unpacked
from sweeper.scores.predictions import image_ids, read_predictions
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.lineage import read_lineage
from sweeper.study.preparation import require_images_of
from sweeper.study.pretrained import with_kept_weights
from sweeper.training.conditions import Conditions
from sweeper.training.device import place
from sweeper.training.evaluate import predictor
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.onnx_forward import quick_forward
from sweeper.training.trainer import train

logger = logging.getLogger(__name__)

METHOD = "study_folds"
FOLDS_VERSION = 2
"""Of how folds are drawn: what an earlier version has begun is not gone on with."""


@dataclass(frozen=True)
class LabelErrors:
    """Likely wrong labels of a study's training images, worst first, and the images they are among."""

    listed: ImageList
    candidates: list[Suspect]
    images: int
    accuracy: float
    """Of the predictions for images that were not trained on, by the labels as they are."""


def _warn_of_weights(sweep: SweepConfig, row: TrialRow) -> None:
    """Warn where a trial began from weights of an earlier study."""
    if row.config is not None and study_reference(row.config.pretrained) is not None:
        logger.warning(
            "trial %d of %s begins from %s, which may have learned the labels that are to be judged: then fewer wrong "
            "ones are found",
            row.number,
            sweep.study,
            row.config.pretrained,
        )


def find_label_errors(
    workspace: Workspace,
    sweep: SweepConfig,
    row: TrialRow,
    *,
    folds: int,
    device: torch.device,
    progress: Progress | None = None,
) -> LabelErrors:
    """Train a trial's configuration once for each fold without it, and judge the labels in the fold.

    Copies of an image, and images of a group, are in one fold: a network would know the label of its copy by heart.
    The validation split chooses the best epoch, as in the study; the test split is not touched. What is
    done stands on disk until all is: after an interruption it goes on from the last epoch.

    Raises:
        ConfigError: there are more folds than images that do not belong together.
        StudyLocked: it is being done already.
        StudyError: the trial has no configuration, or a training did not end well.
    """
    require_classifiers(sweep)
    if row.config is None:
        raise StudyError(f"trial {row.number} of {sweep.study} has no configuration; choose another study")
    config = with_kept_weights(row.config, workspace.study(sweep.study), workspace)
    if (start := read_lineage(workspace.study(sweep.study))) is not None:
        raise StudyError(
            f"{sweep.study} goes on from weights of {start.study}, which have seen the labels that are to be judged; "
            f"choose a study that does not go on from another one, such as {start.study}"
        )
    if config.teacher.name != "none":
        raise StudyError(
            f"trial {row.number} of {sweep.study} learns from {config.teacher.name}, which may have seen the labels "
            "that are to be judged; choose a study without a teacher"
        )
    _warn_of_weights(sweep, row)
    load_model_files(sweep.model_files)
    prepared = prepare(sweep.dataset, config.image_size, workspace)
    images = prepared.images
    features = FrozenFeatures(FeatureCache(workspace.features), sweep.features, device)
    rows = images.splits["train"]
    held_out = _held_out(prepared, sweep, workspace, folds)
    probabilities = np.zeros((len(rows), len(images.classes)))
    with _folder(workspace, sweep, config, images, folds) as files:
        for fold, held in enumerate(held_out):
            told = _scaled(progress, fold, folds, sweep.budget.epochs)
            found = _known(files.judged(fold), (len(held), len(images.classes)))
            if found is None:
                found = _judged(sweep, config, images, rows, held, fold, device, told, files.trial(fold), features)
                write_whole(files.judged(fold), packed(probabilities=found))
                shutil.rmtree(files.trial(fold).path)
            probabilities[held] = found
        shutil.rmtree(files.path)
    labels = images.labels[rows]
    listed = _listed(workspace, sweep, images)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    candidates = _candidates(listed, rows, probabilities, labels, _known_classes(labels, held_out))
    return LabelErrors(listed, candidates, len(rows), accuracy)


def kept_label_errors(workspace: Workspace, store: StudyStore, row: TrialRow) -> LabelErrors:
    """Judge the labels by what a cross-validated trial has said of each image that it had not seen; nothing is trained.

    Raises StudyError where it has kept no predictions of these images, StudyChanged where images or labels are others
    now, TrackingError when MLflow cannot be reached.
    """
    sweep = store.sweep
    size = row.config.image_size if row.config else TrialConfig.model_fields["image_size"].default
    images = prepare_images(sweep.dataset, size, workspace)
    require_images_of(workspace, store, images.digest, "run a new study on these")
    with tempfile.TemporaryDirectory(prefix="sweeper-labels-") as folder:
        file = fetch_artifacts(workspace, store, row, Path(folder), None, ("predictions",)).predictions
        found = read_predictions(file) if file else None
    rows = images.without_validation().splits["train"]
    if found is None or not np.array_equal(found.images, image_ids(images.paths[place] for place in rows)):
        raise StudyError(
            f"trial {row.number} of {sweep.study} has kept no predictions of all these images; run it again"
        )
    listed, labels = _listed(workspace, sweep, images), images.labels[rows]
    known = _known_classes(labels, [np.searchsorted(rows, fold) for fold in images.folds])
    candidates = _candidates(listed, rows, found.shares(len(images.classes)), labels, known)
    return LabelErrors(listed, candidates, len(rows), float(found.right.mean()))


def _held_out(prepared: Prepared, sweep: SweepConfig, workspace: Workspace, folds: int) -> list[Labels]:
    """Return the places in the training split of the images of each fold. Raises ConfigError where one has none."""
    images, rows = prepared.images, prepared.images.splits["train"]
    units = units_of(prepared.index, sweep.dataset, workspace)
    _require_images_for(folds, len(np.unique(units.first[rows])), sweep.study)
    parts = draw_folds(images.labels, rows, units, folds, sweep.seed)
    _require_images_for(folds, sum(len(part) > 0 for part in parts), sweep.study)  # large groups may leave one empty
    return [np.searchsorted(rows, part) for part in parts]


def _require_images_for(folds: int, images: int, study: str) -> None:
    """Raise ConfigError where a fold would have no image."""
    if folds > images:
        rule = (
            f"should be at most {images:,} for the training images of {study}, got {folds:,}: copies, and images of a "
            "group, stay in one fold; take fewer"
        )
        raise ConfigError([Problem("--folds", "", rule)])


def _known(judged: Path, shape: tuple[int, int]) -> Probabilities | None:
    """Return the probabilities of a fold that was judged before; None where it was not or its file is damaged."""
    try:
        (found,) = unpacked(judged.read_bytes(), "probabilities")
    except (OSError, ValueError):
        return None
    return found if found.shape == shape else None


@contextmanager
def _folder(
    workspace: Workspace, sweep: SweepConfig, config: TrialConfig, images: ImageSet, folds: int
) -> Iterator[FoldsFolder]:
    """Hold the folder of these trainings, named by all that they depend on."""
    described = [sweep.fingerprint(), config.model_dump(mode="json"), images.digest, folds, FOLDS_VERSION]
    key = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=8).hexdigest()
    files = workspace.study(sweep.study).folds(key)
    try:
        with file_lock(files.lock, blocking=False):
            yield files
    except AlreadyLocked:
        raise StudyLocked(
            f"the labels of {sweep.study} are being judged by another process; wait for its end"
        ) from None


def _scaled(progress: Progress | None, fold: int, folds: int, epochs: int) -> Callable[[int], None]:
    """Return what reports an epoch of one fold as a part of all."""
    return lambda epoch: progress(fold * epochs + epoch, folds * epochs) if progress else None


def _judged(
    sweep: SweepConfig,
    config: TrialConfig,
    images: ImageSet,
    rows: Labels,
    held: Labels,
    fold: int,
    device: torch.device,
    told: Callable[[int], None],
    folder: TrialFolder,
    features: FrozenFeatures,
) -> Probabilities:
    """Train without the held rows and return the probabilities of their classes, [H, C]."""
    splits: Splits = {"train": np.delete(rows, held), "val": images.splits["val"], "test": rows[held]}
    parts = replace(images, splits=splits)  # the held images stand in the place of a test split
    data = TrialData(DeviceImages(parts, "train", device), DeviceImages(parts, "val", device), images.titles)
    spec = TrialSpec(number=fold, seed=sweep.seed + fold, epochs=sweep.budget.epochs, config=config)
    folder.path.mkdir(parents=True, exist_ok=True)
    conditions = Conditions(data, sweep.objective, sweep.budget.patience, device, features=features)
    outcome = train(spec, folder, conditions, partial(_tell, told))
    if outcome.state is not TrialState.COMPLETE or outcome.best_epoch is None:
        shutil.rmtree(folder.path)
        raise StudyError(f"fold {fold} of {sweep.study} could not be trained: {outcome.reason}; choose another study")
    model = build_classifier(config, len(images.classes), load_weights=False)
    model.load_state_dict(read_weights(folder.weights_of(outcome.best_epoch)))
    return _probabilities(model, DeviceImages(parts, "test", device), config, device)


def _tell(told: Callable[[int], None], metrics: EpochMetrics) -> bool:
    """Tell of an epoch; no fold is pruned."""
    told(metrics.epoch)
    return False


@torch.inference_mode()
def _probabilities(model: Classifier, images: DeviceImages, config: TrialConfig, device: torch.device) -> Probabilities:
    place(model.eval(), device)
    forward = quick_forward(model, config.image_size, device, len(images))
    predict = predictor(forward, device, MicroBatches(device))
    batches = images.eval_batches(config.batch_size, config.image_size, model.mean, model.std)
    return np.concatenate([predict(batch.inputs).double().softmax(1).cpu().numpy() for batch in batches])


def _listed(workspace: Workspace, sweep: SweepConfig, images: ImageSet) -> ImageList:
    index = build_index(sweep.dataset, workspace)
    labels = [images.classes[label] for label in images.labels.tolist()]
    return ImageList(index.root, index.paths, labels, ["train"] * len(labels), images.classes)


def _known_classes(labels: Labels, parts: Sequence[Labels]) -> npt.NDArray[np.bool_]:
    """Return [N], whether the network that judges an image has learned from others of its class.

    That of a fold has not where all images of a class are in it, as those of one group.
    """
    known = np.ones(len(labels), bool)
    for part in parts:
        known[part] = np.isin(labels[part], np.delete(labels, part))
    return known


def _candidates(
    images: ImageList, rows: Labels, probabilities: Probabilities, labels: Labels, known: npt.NDArray[np.bool_]
) -> list[Suspect]:
    found = suspects(probabilities, labels, known)
    return [
        Suspect(row, images.paths[row], images.labels[row], score, METHOD, images.classes[suggested])
        for row, suggested, score in zip(
            rows[found.rows].tolist(), found.suggested.tolist(), found.scores.tolist(), strict=True
        )
    ]

"""Small pictures of the images that a page talks about."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sweeper.config.dataset import DatasetConfig
from sweeper.data.decode import BadImage, decode
from sweeper.data.image_file import read_image_file
from sweeper.data.index import read_listing
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from sweeper.scores.predictions import Ids, Numbers, Predictions, image_ids

logger = logging.getLogger(__name__)

PICTURE_SIDE = 64  # pixels
MOST_PICTURES = 480
WORST = 24
"""Mistakes that are shown of a trial."""

PAIRS, OF_A_PAIR = 20, 6
LEADERS = 5


@dataclass(frozen=True)
class ImageFiles:
    """The files of some images, in their order; empty names where a file is not known."""

    root: str
    paths: tuple[str, ...]


def find_files(dataset: DatasetConfig, workspace: Workspace, ids: Ids) -> ImageFiles:
    """Look the files up that predictions were made of; without the data set none is known."""
    try:
        listing = read_listing(dataset, workspace)
    except DatasetError as error:
        logger.warning("no pictures: %s", error)
        return ImageFiles("", ("",) * len(ids))
    names = dict(zip(image_ids(listing.paths).tolist(), listing.paths, strict=True))
    return ImageFiles(str(listing.root), tuple(names.get(number, "") for number in ids.tolist()))


def worst_mistakes(predictions: Predictions, most: int = WORST) -> list[int]:
    """Return the images that are wrong, the most confident mistakes first."""
    wrong = np.flatnonzero(~predictions.right)
    order = np.argsort(-predictions.probabilities[wrong, 0], kind="stable")
    return [int(image) for image in wrong[order][:most]]


def confused_pairs(predictions: Predictions, classes: int, most: int = PAIRS) -> list[tuple[int, int]]:
    """Return the pairs of true and predicted class with most images, the largest first."""
    confusion = predictions.confusion(classes)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:most]
    return [(int(cell) // classes, int(cell) % classes) for cell in order if confusion.flat[cell]]


def chosen_images(leaders: Sequence[Predictions], others: Sequence[Predictions], classes: int) -> list[int]:
    """Choose the images to be pictured: what the leaders get wrong, then what most trials get wrong."""
    chosen: dict[int, None] = {}
    for predictions in leaders[:LEADERS]:
        chosen |= dict.fromkeys(worst_mistakes(predictions))
        for true, predicted in confused_pairs(predictions, classes):
            images = np.flatnonzero((predictions.labels == true) & (predictions.predicted == predicted))
            chosen |= dict.fromkeys(int(image) for image in images[:OF_A_PAIR])
    everyone = [*leaders, *others]
    if everyone:
        wrong: Numbers = np.sum([~predictions.right for predictions in everyone], axis=0)
        chosen |= dict.fromkeys(int(image) for image in np.argsort(-wrong, kind="stable")[:MOST_PICTURES])
    return list(chosen)[:MOST_PICTURES]


def pictures(files: ImageFiles, images: Iterable[int]) -> dict[int, str]:
    """Return JPEGs of 64 pixels as base64; those that cannot be read are left out."""
    found = ((image, _picture(files, image)) for image in images if files.paths[image])
    return {image: data for image, data in found if data}


def _picture(files: ImageFiles, image: int) -> str:
    try:
        pixels = decode(read_image_file(f"{files.root}/{files.paths[image]}"), PICTURE_SIDE, "pad")
    except (BadImage, DatasetError):
        return ""  # gone since the study ran
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=82)
    return base64.b64encode(stream.getvalue()).decode()

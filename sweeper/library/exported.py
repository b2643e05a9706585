"""`Export`: an exported classifier, which labels files, Pillow images and arrays."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sweeper.config.dataset import CsvConfig
from sweeper.data.decode import BadImage, Depth, Pixels, decode
from sweeper.data.decoded_batches import DecodedBatch, decoded_batches
from sweeper.errors import ConfigError, DatasetError, Problem
from sweeper.export.export_config import ExportConfig
from sweeper.export.load import load_export as load
from sweeper.predict.inputs import find_inputs
from sweeper.predict.predict import Labelling
from sweeper.training.device import borrowed_device

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from sweeper.export.load import LoadedExport

Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
"""A file, a Pillow image, or an array: uint8 [H, W], [H, W, 3] or [H, W, 4], values from 0 to 255."""

WRITTEN_AS = {
    **dict.fromkeys(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "PNG"),
    **dict.fromkeys(("I", "I;16B", "F"), "TIFF"),
}
"""Modes of Pillow, and a format that keeps each as it is."""
PLAIN = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA", "I;16L": "I"}
"""What other modes become without a loss; the rest has no transparency and 8 bits, and becomes RGB."""


def load_export(folder: str | Path) -> Export:
    """Load an export of a classifier: a folder that `sweeper best --export` or `trial.export()` has written.

    Raises ExportError where the folder is not an export, or is damaged.
    """
    return Export(load(Path(folder)), Path(folder))


class Export:
    """An exported classifier, on this machine."""

    def __init__(self, loaded: LoadedExport, folder: Path):
        self._loaded = loaded
        self.folder = folder

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the C classes, in the order of the probabilities."""
        return self._loaded.config.classes

    @property
    def config(self) -> ExportConfig:
        """What config.json says."""
        return self._loaded.config

    @property
    def model(self) -> nn.Module:
        """The network, in evaluation mode: normalised images, float32 [B, 3, S, S], to logits [B, C]."""
        return self._loaded.classifier

    def predict(
        self,
        images: Picture | Sequence[Picture],
        *,
        top: int = 1,
        batch_size: int | None = None,
        device: str = "auto",
    ) -> pd.DataFrame:
        """Label images: a row each.

        A path may be a folder, a pattern or a CSV file too, as for `sweeper predict`. An image of 10, 12 or 14 bits in
        16 is read right by its path alone: Pillow does not keep the tag that tells how many are used.

        Args:
            images: One image or several; an array [N, H, W, 3] is N images.
            top: How many classes are given for each image.
            batch_size: Images at once, by default as in training.
            device: auto, cpu, cuda, cuda:1, mps.

        Returns:
            Columns: image, the path as it was given or the place of the image; class and probability, and class_2,
            probability_2 and so on with `top` above 1; reason, why a file could not be read, else empty.

        Raises:
            DatasetError: a path stands for nothing, or what is given is no image.
            ConfigError: `top` or `batch_size` is less than 1.
        """
        import pandas as pd

        top = _counted("top", top)
        names, probabilities, reasons = self._labelled(images, batch_size, device)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(top, len(self.classes))]
        shares = np.take_along_axis(probabilities, order, 1)
        columns: dict[str, Any] = {"image": names}
        for place in range(order.shape[1]):
            after = "" if place == 0 else f"_{place + 1}"
            known = [row not in reasons for row in range(len(names))]
            columns[f"class{after}"] = [
                self.classes[number] if readable else None
                for number, readable in zip(order[:, place], known, strict=True)
            ]
            columns[f"probability{after}"] = np.where(known, shares[:, place], np.nan)
        columns["reason"] = [reasons.get(row, "") for row in range(len(names))]
        return pd.DataFrame(columns)

    def predict_proba(
        self, images: Picture | Sequence[Picture], *, batch_size: int | None = None, device: str = "auto"
    ) -> npt.NDArray[np.float32]:
        """Return the calibrated probabilities of all classes, float32 [N, C].

        Arguments as of `predict`. Raises DatasetError where an image cannot be read.
        """
        names, probabilities, reasons = self._labelled(images, batch_size, device)
        if reasons:
            row, reason = next(iter(reasons.items()))
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            raise DatasetError(f"{names[row]} cannot be read: {reason}{more}; `predict` gives the reasons of all")
        return probabilities

    def _labelled(
        self, images: Picture | Sequence[Picture], batch_size: int | None, device: str
    ) -> tuple[list[str], npt.NDArray[np.float32], dict[int, str]]:
        """Return what images are called, their probabilities [N, C], and why some of them cannot be read."""
        size = self.config.batch_size if batch_size is None else _counted("batch_size", batch_size)
        given = _several(images)
        named = [os.fspath(image) for image in given if isinstance(image, str | os.PathLike)]
        reasons: dict[int, str] = {}
        if len(named) == len(given):
            found = find_inputs(named, CsvConfig(), once=False).images
            names = [image.name for image in found]
            readable = [row for row, image in enumerate(found) if not image.reason]
            reasons = {row: image.reason for row, image in enumerate(found) if image.reason}
            depth = Depth(**self.config.depth.model_dump())
            paths = [found[row].path for row in readable]
            stored, resize = self.config.stored_size, self.config.resize
            batches = decoded_batches(paths, stored, resize, size, depth, past_faults=True)
        else:
            names, readable = [str(row) for row in range(len(given))], list(range(len(given)))
            batches = _in_memory(given, self.config, size)
        probabilities = np.full((len(names), len(self.classes)), np.nan, np.float32)
        with self._labelling(device) as labelling:
            for batch in batches:
                reasons |= {readable[row]: reason for row, reason in batch.bad.items()}
                if batch.rows:
                    rows = [readable[row] for row in batch.rows]
                    probabilities[rows] = labelling.probabilities(torch.from_numpy(batch.pixels)).numpy()
        return names, probabilities, reasons

    @contextmanager
    def _labelling(self, device: str) -> Iterator[Labelling]:
        """Give what labels images on a device; `model` stays where it is, and the program's current GPU as it was."""
        with borrowed_device(str(device)) as borrowed:
            loaded = self._loaded
            if next(self.model.parameters()).device != borrowed:
                loaded = replace(loaded, classifier=copy.deepcopy(loaded.classifier))
            yield Labelling(loaded, borrowed)

    def __repr__(self) -> str:
        return f"<Export of {self.config.architecture} for {len(self.classes)} classes in {self.folder}>"


def _several(images: Picture | Sequence[Picture]) -> list[Picture]:
    """Return one image or several as a list. Raises DatasetError where there is none."""
    if isinstance(images, np.ndarray):
        found: list[Picture] = list(images) if images.ndim > 3 or images.ndim == 1 else [images]
    elif isinstance(images, str | os.PathLike | Image.Image):
        found = [images]
    elif isinstance(images, Iterable) and not isinstance(images, bytes | Mapping):
        found = list(images)
    else:
        what = "an image or a list of images, each a path, a Pillow image or an array of NumPy"
        raise DatasetError(f"should be {what}, got {type(images).__name__}")
    if not found:
        raise DatasetError("no images were given: the list is empty")
    return found


def _counted(name: str, value: int) -> int:
    """Return a number of things. Raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError([Problem(name, "", f"should be a whole number of at least 1, got {value!r}")])
    return int(value)


def _in_memory(images: Sequence[Picture], config: ExportConfig, size: int) -> Iterator[DecodedBatch]:
    """Prepare images as files are prepared. Raises DatasetError for what is none."""
    depth = Depth(**config.depth.model_dump())
    for start in range(0, len(images), size):
        pixels: list[Pixels] = []
        for row, image in enumerate(images[start : start + size], start):
            try:
                pixels.append(decode(_as_file(image), config.stored_size, config.resize, depth))
            except (BadImage, DatasetError, OSError, ValueError) as error:
                raise DatasetError(f"image {row} cannot be used: {error}") from error
        yield DecodedBatch(np.stack(pixels), tuple(range(start, start + len(pixels))), {})


def _as_file(image: Picture) -> bytes:
    """Return the bytes of an image file without loss, so that all images are read in one way."""
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    picture = Image.fromarray(_checked(image)) if isinstance(image, np.ndarray) else image
    if not isinstance(picture, Image.Image):
        raise DatasetError(f"should be a path, a Pillow image or an array of NumPy, got {type(picture).__name__}")
    if 0 in picture.size:
        raise DatasetError(f"should have at least one pixel, got {picture.width} x {picture.height}")
    if picture.mode not in WRITTEN_AS:
        picture = picture.convert(PLAIN.get(picture.mode, "RGB"))
    file = io.BytesIO()
    picture.save(file, WRITTEN_AS[picture.mode], compress_level=1, exif=picture.getexif())
    return file.getvalue()


def _checked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that is an image. Raises DatasetError."""
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not flat or 0 in array.shape:
        raise DatasetError(
            f"should be an array of uint8, values from 0 to 255, of the shape [H, W], [H, W, 3] or [H, W, 4], got "
            f"{array.dtype} {list(array.shape)}"
        )
    return array

"""A classifier as MLflow serves it: image files in, classes and probabilities out.

MLflow stores this very file with the model and runs it where the model is loaded, so that it imports neither
sweeper nor torch. It prepares images by the rules of `data.decode`; a test holds the two to the same pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""A larger image is taken for a decompression bomb, as in training."""

AT_ONCE = 64
"""Images that go through the network together, however many one request holds."""

ERRORS_ONLY = 3
"""Severity from which onnxruntime writes to the log; it warns about the cores of containers."""


class ServedClassifier(PythonModel):
    """An export's ONNX file behind MLflow's `predict`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["export"])
        self._config = json.loads((folder / "config.json").read_bytes())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return the best class of each image, its probability, and the `top` best with theirs.

        Args:
            context: MLflow's; unused here.
            model_input: A table whose column `image` holds the bytes of image files.
            params: `top`, how many classes are listed for an image.
        """
        files = list(model_input["image"])
        top = max(1, int((params or {}).get("top", 1)))
        parts = [self._probabilities(files, start) for start in range(0, len(files), AT_ONCE)]
        return table([row for part in parts for row in part], self._config["classes"], top)

    def _probabilities(self, files: Sequence[bytes], start: int) -> np.ndarray[Any, Any]:
        """Return the calibrated probabilities [B, C] of the files from number `start` on."""
        images = [self._prepared(data, start + row) for row, data in enumerate(files[start : start + AT_ONCE])]
        logits = self._session.run(["logits"], {"images": np.stack(images)})[0].astype(np.float64)
        scaled = logits / (self._config.get("calibration") or {}).get("temperature", 1.0)
        powers = np.exp(scaled - scaled.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))

    def _prepared(self, data: bytes, row: int) -> np.ndarray[Any, Any]:
        try:
            return prepared(bytes(data), self._config)
        except Exception as error:  # damaged files raise nearly anything from within Pillow's parsers
            why = "not an image in a known format" if isinstance(error, UnidentifiedImageError) else str(error)
            raise MlflowException.invalid_parameter_value(f"image {row} of the request cannot be read: {why}") from None


def table(probabilities: Sequence[np.ndarray[Any, Any]], classes: Sequence[str], top: int) -> pd.DataFrame:
    """Return one row for each image, its classes best first; of equal ones the lower number."""
    orders = [np.argsort(-row, kind="stable")[:top] for row in probabilities]
    return pd.DataFrame(
        {
            "class": [classes[order[0]] for order in orders],
            "probability": [float(row[order[0]]) for row, order in zip(probabilities, orders, strict=True)],
            "classes": [[classes[number] for number in order] for order in orders],
            "probabilities": [row[order].tolist() for row, order in zip(probabilities, orders, strict=True)],
        }
    )


def prepared(data: bytes, config: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Turn an image file into the network's input, float32 [3, S, S]."""
    image = square(upright(opened(data, config["stored_size"])), config["stored_size"], config["resize"])
    side = config["image_size"]
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    pixels = (np.asarray(image) / 255 - config["mean"]) / config["std"]
    return np.asarray(pixels.transpose(2, 0, 1), np.float32)


def opened(data: bytes, size: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    if min(image.size) >= 4 * size:
        image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at reduced size, as in training
    image.load()
    return image


def upright(image: Image.Image) -> Image.Image:
    """Return the image in RGB, on white where it is transparent, turned as its EXIF orientation says."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no agreed white; send 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = in_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def in_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey: 65535 is white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("32-bit grey with values beyond 16 bits; send 8 or 16 bits")
    return Image.fromarray(((values * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def square(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Cut the middle out (crop), distort (squash) or add black borders (pad)."""
    if image.size == (size, size):
        return image
    if resize == "pad":
        return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color="black")
    box: tuple[float, float, float, float] = (0, 0, image.width, image.height)
    if resize == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


mlflow.models.set_model(ServedClassifier())

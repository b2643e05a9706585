"""A classifier as MLflow serves it: image files in, classes and probabilities out.

MLflow stores this very file with the model and runs it where the model is loaded, so that it imports neither
sweeper nor torch. Images are prepared by the folder `picture` beside the export, as in training.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

AT_ONCE = 64
"""Images that go through the network together, however many one request holds."""

ERRORS_ONLY = 3
"""Severity from which onnxruntime writes to the log; it warns about the cores of containers."""


class ServedClassifier(PythonModel):
    """An export's ONNX file behind MLflow's `predict`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["export"])
        self._config = json.loads((folder / "config.json").read_bytes())
        self._prepare = program_in(folder / "picture").prepared
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
        if not isinstance(data, bytes | bytearray | memoryview):
            raise MlflowException.invalid_parameter_value(f"image {row} of the request {not_bytes(data)}")
        try:
            return np.asarray(self._prepare(bytes(data), self._config))
        except ValueError as error:
            problem = f"image {row} of the request cannot be read: {error}"
            raise MlflowException.invalid_parameter_value(problem) from None


def not_bytes(data: Any) -> str:
    """Say what is to be sent in place of a path or anything else; a server looks no files up."""
    return (
        f"is {type(data).__name__} {str(data)[:80]!r}, and the column `image` holds the bytes of image files: "
        "open(path, 'rb').read(), in JSON as base64"
    )


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


def program_in(folder: Path) -> ModuleType:
    """Import the folder beside the export that prepares images, under a name that no other model has."""
    name = f"picture_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    found = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if found is None or found.loader is None:
        raise ImportError(f"{folder} holds no program that prepares images; register the export again")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # for its own parts, which import each other
    found.loader.exec_module(module)
    return module


mlflow.models.set_model(ServedClassifier())

"""Writing a classifier as a torch.export program and as ONNX, and reading both back to predict with.

Both take float32 images [N, 3, S, S] of any batch size N and give float32 logits [N, C].
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor
from torch.export import ExportedProgram

from sweeper.modeling.ensemble import Network
from sweeper.training.evaluate import Predict

PROTOBUF_LIMIT = 2**31 - 2**20
"""Bytes that one ONNX file may hold, less some for the graph; larger weights lie in a file beside it."""

ERRORS_ONLY = 3
"""Severity from which onnxruntime writes to the terminal; it warns about the cores of containers."""


def trace(model: Network, image_size: int) -> ExportedProgram:
    """Record what a classifier in inference mode, on the CPU, does with a batch of any size."""
    # Sizes 0 and 1 are taken for constants, so the batch that is traced has 2 images.
    images = torch.zeros(2, len(model.mean), image_size, image_size)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))


def write_program(program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write a traced classifier as ONNX, in one file as far as the format allows."""
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    torch.onnx.export(
        program,
        (),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),  # gives the dimension its name
        external_data=weights > PROTOBUF_LIMIT,
        dynamo=True,
        verbose=False,
    )


def read_program(path: Path) -> Predict:
    """Load a torch.export program for the CPU."""
    module = torch.export.load(path).module()

    def predict(images: Tensor) -> Tensor:
        logits: Tensor = module(images.cpu())
        return logits

    return predict


def read_onnx(path: Path) -> Predict:
    """Load an ONNX file into onnxruntime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> Tensor:
        logits = session.run(["logits"], {"images": images.cpu().contiguous().numpy()})[0]
        return torch.from_numpy(logits)

    return predict

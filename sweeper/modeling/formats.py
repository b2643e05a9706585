"""Writing a network as a torch.export program and as ONNX, and reading both back to predict with.

Both take float32 images [N, 3, S, S] of any batch size N and give what it gives, mostly float32 logits [N, C].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sweeper.errors import ExportError

Predict = Callable[[Tensor], Tensor]
"""Puts inputs [B, ...] through a network and gives its outputs, float32 [B, ...]."""

CHANNELS = 3

PROTOBUF_LIMIT = 2**31 - 2**20
"""Bytes that one ONNX file may hold, less some for the graph; larger weights lie in a file beside it."""

ERRORS_ONLY = 3
"""Severity from which onnxruntime writes to the terminal; it warns about the cores of containers."""

logging.getLogger("onnx_ir").setLevel(logging.WARNING)  # it tells of every constant that it merges


@contextmanager
def recording(what: str, way_out: str) -> Iterator[None]:
    """Say as an ExportError what torch's exporters meet in an architecture's code; errors of the disk pass as they are.

    `what` names the network and the format, `way_out` what the user can do.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{what}: {type(error).__name__}: {error}; {way_out}") from error


def trace(model: nn.Module, image_size: int) -> ExportedProgram:
    """Record what a network in inference mode, on the CPU, does with a batch of any size."""
    # Sizes 0 and 1 are taken for constants, so the batch that is traced has 2 images.
    images = torch.zeros(2, CHANNELS, image_size, image_size)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))


def write_program(program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def write_onnx(program: ExportedProgram, path: Path, output: str = "logits") -> None:
    """Write a traced network as ONNX, in one file as far as the format allows."""
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    torch.onnx.export(
        program,
        (),
        path,
        input_names=["images"],
        output_names=[output],
        dynamic_shapes=({0: "batch"},),  # gives the dimension its name
        external_data=weights > PROTOBUF_LIMIT,
        dynamo=True,
        verbose=False,
    )


def read_program(path: Path) -> Predict:
    """Load a torch.export program for the CPU; images are given to it in the fastest memory format."""
    module = torch.export.load(path).module()

    def predict(images: Tensor) -> Tensor:
        logits: Tensor = module(images.cpu().contiguous(memory_format=torch.channels_last))
        return logits

    return predict


def read_onnx(path: Path, output: str = "logits", threads: int = 0) -> Predict:
    """Load an ONNX file into onnxruntime, on the CPU; with 0 threads it takes as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> Tensor:
        values = session.run([output], {"images": images.cpu().contiguous().numpy()})[0]
        return torch.from_numpy(values)

    return predict

"""Ways to write an ONNX file with smaller numbers in it; how good the result is, is measured elsewhere."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

VariantKind = Literal["fp16", "int8"]
Images = npt.NDArray[np.float32]

Writer = Callable[[Path, Path, Sequence[Images]], None]
"""Reads one ONNX file and writes another, by batches of training images [B, 3, S, S]."""

AVERAGING = 0.1
"""Weight of the newest batch where ranges of activations are averaged over batches."""


def write_fp16(source: Path, target: Path, _: Sequence[Images]) -> None:
    """Store and compute in half precision, float32 at the input and the output."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def write_static(source: Path, target: Path, batches: Sequence[Images]) -> None:
    """Use 8 bits for weights and activations; an activation's range is all that it took on training images."""
    _write_static(source, target, batches, {})


def write_static_averaged(source: Path, target: Path, batches: Sequence[Images]) -> None:
    """Use 8 bits for weights and activations; an activation's range is averaged over batches, so that outliers clip."""
    _write_static(source, target, batches, {"CalibMovingAverage": True, "CalibMovingAverageConstant": AVERAGING})


def write_dynamic(source: Path, target: Path, _: Sequence[Images]) -> None:
    """Use 8 bits for weights, and for activations by ranges found anew for each batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _prepared(source) as prepared:
        quantize_dynamic(prepared, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


METHODS: dict[VariantKind, dict[str, Writer]] = {
    "fp16": {"half precision": write_fp16},
    "int8": {
        "static, full ranges": write_static,
        "static, averaged ranges": write_static_averaged,
        "dynamic": write_dynamic,
    },
}


def _write_static(source: Path, target: Path, batches: Sequence[Images], options: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _prepared(source) as prepared:
        quantize_static(
            prepared,
            target,
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7 bits for weights: without VNNI instructions sums of 8-bit products saturate, and the
            # accuracy that is stated has to hold on processors other than this one.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )


def _reader(batches: Sequence[Images]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self._left, None)
            return None if batch is None else {"images": batch}

    return Batches()


@contextmanager
def _prepared(source: Path) -> Iterator[Path]:
    """Give the file with batch normalisation folded into convolutions and all shapes known."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="sweeper-quantize-") as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        yield prepared


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools from telling of each number they round, and from advising what is done already."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(level)

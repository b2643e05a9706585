"""What the files of an export say of themselves, so that each can be used when it has lost the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from safetensors import safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from sweeper.export.autoencoder_export import AutoencoderConfig
    from sweeper.export.export_config import ExportConfig

PREPARED = (
    "decode to RGB; make square by `resize` and bring to stored_size, then to image_size, both by bicubic "
    "interpolation that averages what it reduces (Pillow's BICUBIC); (value / 255 - mean) / std in every channel"
)


def self_description(config: ExportConfig | AutoencoderConfig, classes: Sequence[str] = ()) -> dict[str, str]:
    """Return what a file says of itself: text by name, lists as JSON. An autoencoder has no classes."""
    return {
        "sweeper": config.libraries["sweeper"],
        "study": config.lineage.study,
        "trial": str(config.lineage.trial),
        "architecture": config.architecture,
        **({"classes": json.dumps(classes, ensure_ascii=False)} if classes else {}),
        "mean": json.dumps(config.mean),
        "std": json.dumps(config.std),
        "image_size": str(config.image_size),
        "stored_size": str(config.stored_size),
        "resize": config.resize,
        "interpolation": config.interpolation,
        "preparation": PREPARED,
    }


HEADER_LENGTH = 8
"""Bytes at the start of a safetensors file that say how long its header is."""


def write_weights(source: Path, target: Path, facts: Mapping[str, str]) -> None:
    """Copy weights into a safetensors file that has `facts` as its metadata."""
    with safe_open(source, framework="pt") as tensors:
        weights = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    target.touch()
    readers = target.stat().st_mode  # as of the other files: safetensors would let nobody else read it
    save_file(weights, target, metadata={"format": "pt", **facts})
    _sort_metadata(target)
    target.chmod(readers)


def _sort_metadata(path: Path) -> None:
    """Bring the facts of a safetensors file into one order: the library's own is another one each time.

    So the same export is the same file, and is registered once.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(HEADER_LENGTH), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(ordered) <= length:  # else it writes some text otherwise than we do, and stays as it is
            file.seek(HEADER_LENGTH)
            file.write(ordered.ljust(length))


def describe_onnx(path: Path, facts: Mapping[str, str]) -> None:
    """Add `facts` to an ONNX file as metadata properties; tensors that lie beside it stay there."""
    model = onnx.load(path, load_external_data=False)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, **facts})
    onnx.save(model, path)

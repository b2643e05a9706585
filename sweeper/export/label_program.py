"""What labels images without this package: a program of some ten lines, and the folder by which it prepares them."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeper.data import picture
from sweeper.files import write_whole

LABEL_PROGRAM = """\
import json, pathlib, sys
import numpy, onnxruntime
from picture import prepared  # the folder beside this file: images are prepared as in training

folder = pathlib.Path(__file__).parent
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(folder / "model.onnx")
for name in sys.argv[1:]:
    images = prepared(pathlib.Path(name).read_bytes(), config)[None]
    logits = session.run(["logits"], {"images": images})[0][0]
    powers = numpy.exp((logits - logits.max()) / config["calibration"]["temperature"])
    label = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in config["classes"][logits.argmax()])
    print(label, f"{powers.max() / powers.sum():.4f}")
"""
"""Prints the class of each image and its probability."""

PICTURE = Path(picture.__file__).parent
"""The folder that prepares images, which needs Pillow and NumPy alone."""


def write_label_program(program: Path, folder: Path) -> None:
    """Write the program, and the folder that it needs, into an export."""
    write_whole(program, LABEL_PROGRAM)
    write_picture(folder)


def write_picture(folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in sorted(PICTURE.glob("*.py")):
        shutil.copyfile(file, folder / file.name)

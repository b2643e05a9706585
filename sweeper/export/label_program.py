"""What labels images without this package: a short program, and the folder by which it prepares them."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeper.data import picture
from sweeper.files import write_whole

LABEL_PROGRAM = """\
import json, pathlib, sys, numpy, onnxruntime
from picture import prepared  # the folder beside this file: images are prepared as in training
usage = "usage: python label.py IMAGE ..."
if sys.argv[1:] in (["-h"], ["--help"]): sys.exit(print(usage))
folder = pathlib.Path(__file__).parent
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(folder / "model.onnx")
shown = lambda text: "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
bad = []
for name in sys.argv[1:]:
    try:
        images = prepared(pathlib.Path(name).read_bytes(), config)[None]
    except (OSError, ValueError) as error:  # no file, or no image: named at the end
        bad.append(shown(f"{name}: {error}"))
        continue
    logits = session.run(["logits"], {"images": images})[0][0]
    powers = numpy.exp((logits - logits.max()) / config["calibration"]["temperature"])
    print(shown(name), shown(config["classes"][logits.argmax()]), f"{powers.max() / powers.sum():.4f}", sep="\\t")
if bad or not sys.argv[1:]: sys.exit("\\n".join(bad) or usage)
"""
"""Prints path, class and probability of each image, with tabs between; names what cannot be read, with exit code 1."""

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

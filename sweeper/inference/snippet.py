"""A program of some ten lines that labels an image with an export, and says how sure it is, without sweeper."""

from __future__ import annotations

from sweeper.data.decode import Resize
from sweeper.data.picture.rgb import DRAFT_FACTOR
from sweeper.inference.export_config import ExportConfig


def snippet(config: ExportConfig) -> str:
    """Return the program; it prepares the image as `data.decode` and the validation batches do."""
    draft = DRAFT_FACTOR * config.stored_size
    lines = [
        "import json, sys",
        "import numpy, onnxruntime",
        "from PIL import Image, ImageOps",
        'config = json.load(open("config.json", encoding="utf-8"))',
        "image = Image.open(sys.argv[1])",
        f"image.draft(None, ({draft}, {draft}))  # a large JPEG is decoded at reduced size, as in training",
        "image = ImageOps.exif_transpose(image)",
        "if image.has_transparency_data:",
        '    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))',
        *square_lines(config.resize, config.stored_size),
        *resize_lines(config.stored_size, config.image_size),
        'pixels = (numpy.asarray(image) / 255 - config["mean"]) / config["std"]',
        'images = pixels.transpose(2, 0, 1)[None].astype("float32")',
        'logits = onnxruntime.InferenceSession("model.onnx").run(["logits"], {"images": images})[0][0]',
        'powers = numpy.exp((logits - logits.max()) / config["calibration"]["temperature"])',
        'print(config["classes"][logits.argmax()], f"{powers.max() / powers.sum():.4f}")',
    ]
    return "\n".join(lines)


def square_lines(resize: Resize, size: int) -> list[str]:
    """Return the lines that make `image` a square of RGB pixels, by the rule of `data.decode`."""
    match resize:
        case "pad":
            return [f'image = ImageOps.pad(image.convert("RGB"), ({size}, {size}), Image.BICUBIC, color="black")']
        case "squash":
            return [f'image = image.convert("RGB").resize(({size}, {size}), Image.BICUBIC, reducing_gap=3.0)']
        case "crop":
            return [
                "x, y = ((side - min(image.size)) / 2 for side in image.size)",
                "middle = (x, y, image.width - x, image.height - y)",
                f'image = image.convert("RGB").resize(({size}, {size}), Image.BICUBIC, middle, reducing_gap=3.0)',
            ]


def resize_lines(stored_size: int, image_size: int) -> list[str]:
    """Return the line that brings the square to the size of the network, where it is another."""
    return [] if stored_size == image_size else [f"image = image.resize(({image_size}, {image_size}), Image.BICUBIC)"]

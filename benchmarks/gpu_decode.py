"""Decoding JPEG files by the GPU's own decoder beside the CPU's cores: images a second, and how far the pixels differ.

    python -m benchmarks.gpu_decode [--sizes 64 256 500] [--images 2000] [--processes 16] [--repeats 3]

torchvision gives batches to the GPU (`decode_jpeg(device="cuda")`); Pillow decodes on the CPU in processes, as the
decode cache is built. Both begin with the bytes in memory and end with pixels: on the GPU there, on the CPU here.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.measurements import Measurement, Result, Section, ratios

BATCH = 128
QUALITY = 90


def main() -> None:
    options = arguments()
    result = Result("gpu_decode", f"{options.images:,} generated JPEG files of each size, quality {QUALITY}")
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        pool.map(len, [b""] * options.processes)  # started before it is measured
        for size in options.sizes:
            result.add(section(size, options, pool))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 500], help="pixels of a side")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def section(size: int, options: argparse.Namespace, pool: multiprocessing.pool.Pool) -> Section:
    files = [jpeg(size, seed) for seed in range(options.images)]
    on_gpu(files[: 2 * BATCH])  # the decoder's start
    host: list[float] = []
    device: list[float] = []
    for _ in range(options.repeats):
        host.append(rate(files, lambda: pool.map(pixel_sum, files, chunksize=32)))
        device.append(rate(files, lambda: on_gpu(files)))
    rows = [
        Measurement(f"Pillow in {options.processes} processes", "images/s", host),
        Measurement("torchvision on the GPU", "images/s", device),
        Measurement("times as fast", "", ratios(device, host)),
        Measurement(
            "largest difference of a pixel", "of 255", [float(largest_difference(file)) for file in files[:20]]
        ),
    ]
    return Section(f"{size} x {size} pixels", rows)


def jpeg(size: int, seed: int) -> bytes:
    """Return a file with structure at several scales, as photographs have."""
    random = np.random.default_rng(seed)
    layers = [
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for side in (4, 16, max(17, size // 4))
    ]
    mixed = sum(
        weight * np.asarray(layer, dtype=np.float32) for weight, layer in zip((0.5, 0.3, 0.2), layers, strict=True)
    )
    file = io.BytesIO()
    Image.fromarray(np.asarray(mixed, dtype=np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def pixel_sum(file: bytes) -> int:
    """Decode on the CPU; the pixels stay in the process, which would write them into the cache."""
    return int(decoded(file)[0, 0].sum())


def decoded(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB"))


def on_gpu(files: list[bytes]) -> list[torch.Tensor]:
    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    batches = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
    pixels = [image for batch in batches for image in decode_jpeg(batch, mode=ImageReadMode.RGB, device="cuda")]
    torch.cuda.synchronize()
    return pixels


def largest_difference(file: bytes) -> int:
    ours = decoded(file).astype(np.int16)
    theirs = on_gpu([file])[0].permute(1, 2, 0).cpu().numpy().astype(np.int16)
    return int(np.abs(ours - theirs).max())


def rate(files: list[bytes], decode: Callable[[], object]) -> float:
    started = time.perf_counter()
    decode()
    return len(files) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

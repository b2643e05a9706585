"""All that a GPU must show, in eight minutes: tests that need one, then each benchmark under a time limit of its own.

    python -m benchmarks.gpu_check [--images cifar10.tar.xz] [--out FOLDER] [--seconds 460] [--only ceiling packing]

Made for a machine that is lent for minutes and has no network: it needs the repository and an environment with what
sweeper requires. `--images` is CIFAR-10 as class folders, or an archive of them; parts that need it are left out
without. The most telling parts come first. What is there when the time is up is printed, and is kept in FOLDER as one
archive of results and logs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measurements import ON_GPU, RESULTS, Result
from benchmarks.program import REPOSITORY, environment

SHOWN_OF_A_LOG = 1500  # characters
ARCHIVE = "gpu_check.tar.gz"
SAYING_S = 2.0


@dataclass(frozen=True)
class Part:
    """One program: its name, its words, the seconds it may take, and the images it needs."""

    name: str
    module: str
    words: str
    limit_s: float
    images: bool = False

    def scaled(self, factor: float) -> Part:
        return replace(self, limit_s=factor * self.limit_s)

    def command(self, images: Path | None) -> list[str]:
        data = ["--data", str(images)] if self.images else []
        return [sys.executable, "-m", self.module, *data, *shlex.split(self.words)]


OPTIONS = "-m gpu -q -W default -p no:cacheprovider"
TESTS = f"{OPTIONS} -k 'not compiled' tests/cuda tests/data/test_batches.py tests/scores/test_metrics.py"
RESNET18 = "--backbones resnet18 --sizes 64 --batch-sizes 256 --steps 40 --epochs 2 --repeats 3"
LITE0 = "--backbones tf_efficientnet_lite0 --sizes 128 --batch-sizes 128 --steps 30 --epochs 2 --repeats 2"
SWEEP = "--train 10000 --val 2000 --epochs 2 --repeats 1 --threads 16 --loaders 16 --workers 1 auto"
PACKED_24 = "--train 20000 --trials 24 --epochs 3 --repeats 1 --workers 3 auto --mps --name packing_24"
PARTS = (
    Part("tests", "pytest", TESTS, 55),
    Part("ceiling", "benchmarks.ceiling", RESNET18, 35),
    Part("time_to_accuracy", "benchmarks.time_to_accuracy", "--seeds 2", 55, images=True),
    Part("sweep", "benchmarks.sweep", f"{SWEEP} --without 'second peer'", 130, images=True),
    Part("packing", "benchmarks.packing", "--train 20000 --trials 8 --epochs 3 --repeats 1", 75, images=True),
    Part("fused", "benchmarks.fused", "--device cuda --members 32 --repeats 2", 55),
    Part("trial_cost", "benchmarks.trial_cost", "--trials 30 --window 10", 55),
)
EXTRA = (
    Part("ceiling_128", "benchmarks.ceiling", f"{LITE0} --name ceiling_128", 40),
    Part("tests_compiled", "pytest", f"{OPTIONS} -k compiled tests/cuda", 60),
    Part("gpu_decode", "benchmarks.gpu_decode", "", 60),
    Part("packing_24", "benchmarks.packing", PACKED_24, 200, images=True),
    Part("compiled", "benchmarks.compiled", "--device cuda", 180),
    Part("whole_networks", "benchmarks.whole_networks", "--device cuda --members 4 8 16", 60),
)
"""Only where they are named by `--only`."""


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(124))  # so that what is there is still shown and kept
    seconds = options.seconds or options.factor * sum(part.limit_s for part in PARTS)
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = folder / "logs"
        logs.mkdir()
        begun = time.time()
        try:
            images = unpacked(options.images, folder) if options.images else None
            ended = [run(part.scaled(options.factor), images, logs, deadline) for part in chosen(options)]
        finally:
            show(begun)
            if options.out is not None:
                keep(options.out, logs)
    sys.exit(0 if all(ended) else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="CIFAR-10 as class folders, or an archive of them")
    parser.add_argument("--out", type=Path, help="a folder for the archive of results and logs")
    parser.add_argument("--seconds", type=float, help="for all parts; by default the sum of their limits")
    parser.add_argument("--factor", type=float, default=1.0, help="of all limits, for a slow machine")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in (*PARTS, *EXTRA)])
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> Iterator[Part]:
    for part in (*PARTS, *EXTRA):
        if part.name not in options.only if options.only else part in EXTRA:
            continue
        if part.images and options.images is None:
            print(f"== {part.name}: left out, since it needs --images", flush=True)
        else:
            yield part


def unpacked(images: Path, folder: Path) -> Path:
    """Return the folder with train/CLASS, of an archive after unpacking it."""
    if images.is_dir():
        return images
    with tarfile.open(images) as archive:
        archive.extractall(folder / "images", filter="data")
    return next(path.parent for path in (folder / "images").rglob("train") if path.is_dir())


def run(part: Part, images: Path | None, logs: Path, deadline: float) -> bool:
    """Run a part within its limit and the time that is left; return whether it ended well."""
    left = deadline - time.monotonic()
    if left <= 1:
        print(f"== {part.name}: no time is left", flush=True)
        return False
    log, started = logs / f"{part.name}.txt", time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            part.command(images),
            cwd=REPOSITORY,
            env={**environment(), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(min(part.limit_s, left))
            ending = f"exit code {code}"
        except subprocess.TimeoutExpired:
            code, ending = 124, f"stopped at its limit of {part.limit_s:g} s"
            say_where(process)
        finally:
            stop(process)
    print(f"== {part.name}: {ending} after {time.monotonic() - started:.0f} s", flush=True)
    if code:
        print(log.read_text(errors="replace")[-SHOWN_OF_A_LOG:], flush=True)
    return code == 0


def say_where(process: subprocess.Popen[bytes]) -> None:
    """Let a program write into its log where it stands, and end."""
    process.send_signal(signal.SIGABRT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SAYING_S)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def show(begun: float) -> None:
    """Print the table of every result that was written since."""
    for file in sorted((RESULTS / ON_GPU).glob("*.json"), key=lambda path: path.stat().st_mtime):
        if file.stat().st_mtime >= begun:
            result = Result.read(file)
            for section in result.sections:
                print(f"-- {file.stem}: {section.title}")
                for row in section.rows:
                    print("   " + " | ".join(cell for cell in row.cells() if cell))
    sys.stdout.flush()


def keep(out: Path, logs: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / ARCHIVE, "w:gz") as archive:
        for folder, name in ((RESULTS / ON_GPU, "results"), (logs, "logs")):
            if folder.exists():
                archive.add(folder, name)


if __name__ == "__main__":
    main()

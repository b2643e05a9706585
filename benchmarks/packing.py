"""Trials an hour of a small network: one at a time, beside as many at once as the device has room for.

    python -m benchmarks.packing [--data FOLDER] [--trials 24] [--workers auto] [--mps] [--repeats 3]

The real program with `--workers 1` and with each of `--workers`, in turns, each in an empty folder; with `--mps` each
of them once more with NVIDIA's Multi-Process Service. All counts, from the start of the program to its end; apart from
that the trials between the first end and the last one, as in a long sweep. How many trials ran at once is the sum of
their seconds over the seconds in which they ran.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.images import gather
from benchmarks.machine import gpu
from benchmarks.measurements import Measurement, Result, Section, ratios
from benchmarks.mps import MpsMissing, multi_process_service
from benchmarks.program import REPOSITORY, watch, write_space
from sweeper.search.study_store import StudyStore

STUDY = "packing"
DEMAND = 2.0  # of a GPU, which one small network leaves mostly idle


class Way(NamedTuple):
    """How a sweep shares the device."""

    workers: str
    mps: bool = False

    def __str__(self) -> str:
        return f"--workers {self.workers}{', MPS' if self.mps else ''}"


class Packed(NamedTuple):
    """What a sweep reached: trials an hour in all, trials an hour once it ran, trials at once, use of the GPU."""

    whole: float
    running: float
    at_once: float
    gpu_use: float | None


def main() -> None:
    options = arguments()
    ways = [Way("1"), *(Way(workers) for workers in options.workers)]
    ways += [Way(workers, mps=True) for workers in options.workers if options.mps]
    found: dict[Way, list[Packed]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        images = gather(options.data, root / "images", size=32, classes=10, train=options.train, val=options.train // 5)
        for repeat in range(options.repeats):
            for way, packed in found.items():
                folder = root / f"{way.workers}-{way.mps}-{repeat}"
                folder.mkdir()
                try:
                    with multi_process_service() if way.mps else nullcontext():
                        packed.append(run(folder, space_of(options, images.folder), way.workers, options.trials))
                except MpsMissing as error:
                    print(f"{way}: left out, since {error}", flush=True)
                    continue
                print(f"{way}: {packed[-1].whole:.0f} trials/h", flush=True)
    Result(options.name, images.about).add(section(found, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--backbone", default="small_resnet", help="of models/small_resnet.py or timm")
    parser.add_argument(
        "--workers", nargs="+", default=["auto"], help="what is compared with one; auto or numbers above 1"
    )
    parser.add_argument("--mps", action="store_true", help="with NVIDIA's Multi-Process Service too")
    parser.add_argument("--name", default="packing", help="of the result's file")
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def space_of(options: argparse.Namespace, images: Path) -> dict[str, Any]:
    return {
        "study": STUDY,
        "dataset": {"path": str(images)},
        "budget": {"trials": options.trials, "epochs": options.epochs},
        "pruner": {"name": "none"},
        "sampler": {"name": "random"},
        "cuda_graphs": True,
        "model_files": [str(REPOSITORY / "models" / "small_resnet.py")],
        "search": {
            "backbone": options.backbone,
            "image_size": 32,
            "batch_size": 128,
            "weight_decay": {"float": [1e-5, 1e-2], "log": True},
            "augment": {"crop_padding": 4, "flip": True},
        },
    }


def run(folder: Path, space: dict[str, Any], workers: str, trials: int) -> Packed:
    file = write_space(folder, space)
    watched = watch([sys.executable, "-m", "sweeper", "run", file.name, "--workers", workers], folder)
    rows = StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", STUDY).rows()
    spans = [((row.ended_ms or 0) / 1000, row.outcome.seconds) for row in rows if row.outcome]
    ends = sorted(end for end, _ in spans)
    began = min(end - seconds for end, seconds in spans)
    in_between = (len(ends) - 1) / (ends[-1] - ends[0])
    at_once = sum(seconds for _, seconds in spans) / (ends[-1] - began)
    used = watched.gpu_use_between(began, ends[-1])
    return Packed(3600 * trials / watched.wall_s, 3600 * in_between, at_once, used)


def section(found: dict[Way, list[Packed]], options: argparse.Namespace) -> Section:
    (_, one), *others = ((way, sweeps) for way, sweeps in found.items() if sweeps)
    rows = [Measurement("one at a time", "trials/h", [sweep.whole for sweep in one]), *use_of_gpu("one at a time", one)]
    for way, packed in others:
        rows += compared(str(way), packed, one)
    return Section(f"{options.trials} trials of {options.backbone}, {options.epochs} epochs each", rows)


def compared(name: str, packed: list[Packed], one: list[Packed]) -> list[Measurement]:
    """Return the rows of one way beside one trial at a time."""
    return [
        Measurement(name, "trials/h", [sweep.whole for sweep in packed]),
        Measurement(f"{name}: trials at once, on average", "", [sweep.at_once for sweep in packed]),
        Measurement(
            f"{name}: whole sweep, against one at a time",
            "",
            ratios([sweep.whole for sweep in packed], [sweep.whole for sweep in one]),
            at_least=DEMAND if gpu() else None,
        ),
        Measurement(
            f"{name}: the same from the first trial's end to the last one's",
            "",
            ratios([sweep.running for sweep in packed], [sweep.running for sweep in one]),
        ),
        *use_of_gpu(name, packed),
    ]


def use_of_gpu(name: str, sweeps: list[Packed]) -> list[Measurement]:
    shares = [100 * sweep.gpu_use for sweep in sweeps if sweep.gpu_use is not None]
    title = f"{name}: the GPU computes while trials run"
    return [Measurement(title, "% of the time", shares, at_least=90)] if shares else []


if __name__ == "__main__":
    main()

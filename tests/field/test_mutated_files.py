"""Files that we read, with bytes flipped, cut, added or replaced: known, made anew, or refused on one line.

Nothing else may come of it: no traceback, and never other numbers than those that were written. Seeds are fixed.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sweeper.config.dataset import DatasetConfig
from sweeper.data.copies import copies
from sweeper.data.feature_cache import FeatureCache, FeatureKey
from sweeper.data.fingerprint import file_states
from sweeper.data.image_guard import ImagesAtStart
from sweeper.data.prepare import prepare, prepare_images
from sweeper.errors import ExportError, StudyError
from sweeper.export.load import load_export
from sweeper.finished.label_errors import _known
from sweeper.paths import Workspace
from sweeper.safeguards.written_files import RECORD, WrittenFiles
from sweeper.scores.confusion import read_confusion, write_confusion
from sweeper.scores.predictions import Predictions, read_predictions, write_predictions
from sweeper.training.compiling import Compilation, StepTimes
from sweeper.training.micro_batch import Limits, recall_limits
from tests.export.conftest import exported, report, source, trial, val

__all__ = ["exported", "report", "source", "trial", "val"]  # fixtures

Refusals = type[Exception] | tuple[()]
SEEDS = range(150)
FEW = range(12)
"""Of the seeds, for what the default run tries."""


def mutated(content: bytes, seed: int) -> bytes:
    """Return damaged content: in turn a bit or a byte flipped, cut, extended, emptied, zeroed, replaced or doubled."""
    random_ = random.Random(seed)
    changed, place = bytearray(content), random_.randrange(max(len(content), 1))
    match seed % 10:
        case 0 | 1 | 2 if content:
            changed[place] ^= 1 << random_.randrange(8)
        case 3 if content:
            changed[place] = random_.randrange(256)
        case 4:
            del changed[place:]
        case 5:
            changed += random_.randbytes(random_.randrange(1, 200))
        case 6:
            changed[place : place + 64] = bytes(len(changed[place : place + 64]))
        case 7:
            changed = bytearray(random_.choice([b"", b"\0", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 5000]))
        case 8:
            changed[place:place] = changed[max(0, place - 40) : place]
        case _:
            del changed[place : place + random_.randrange(1, 40)]
    return bytes(changed)


def require_sound(file: Path, use: Callable[[], Any], expected: Any, seeds: range, refusals: Refusals = ()) -> int:
    """Damage a file over and over; return how often it was refused."""
    content, refused = file.read_bytes(), 0
    for seed in seeds:
        file.write_bytes(mutated(content, seed))
        found, told = answer(use, refusals)
        assert told or found == expected, (file, seed)
        assert "\n" not in told, (file, seed, told)
        refused += bool(told)
        file.write_bytes(content)
    return refused


def answer(use: Callable[[], Any], refusals: Refusals) -> tuple[Any, str]:
    """Return what comes of using a file, or what it is refused with."""
    try:
        return use(), ""
    except refusals as refusal:
        return None, str(refusal)


@pytest.fixture(params=[FEW, pytest.param(SEEDS, marks=pytest.mark.slow)], ids=["few", "many"])
def seeds(request: pytest.FixtureRequest) -> range:
    chosen: range = request.param
    return chosen


def write_images(folder: Path) -> Iterator[str]:
    random_ = np.random.default_rng(0)
    for number in range(12):
        name = f"{'cat' if number % 2 else 'dog'}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name)
        yield name


def test_predictions(tmp_path: Path, seeds: range) -> None:
    random_ = np.random.default_rng(0)
    classes = random_.integers(0, 9, (50, 3))
    shares = random_.random((50, 3)).astype(np.float16).astype(np.float32)
    written = Predictions(np.arange(50, dtype=np.uint64), classes[:, 0], classes, shares, shares[:, 0])
    file = tmp_path / "p.npz"
    write_predictions(file, written)

    def use() -> list[Any]:
        read = read_predictions(file)
        return [value.tolist() for value in vars(read).values()]

    assert require_sound(file, use, [value.tolist() for value in vars(written).values()], seeds, StudyError)


def test_the_decode_cache(tmp_path: Path, seeds: range) -> None:
    list(write_images(tmp_path / "images"))
    workspace, dataset = Workspace(tmp_path), DatasetConfig(path="images")

    def use() -> tuple[bytes, str, list[int]]:
        images = prepare_images(dataset, 8, workspace)
        return images.images.tobytes(), images.digest, images.labels.tolist()

    expected = use()
    for file in [path for path in workspace.cache.iterdir() if path.suffix != ".lock"]:
        assert require_sound(file, use, expected, seeds) == 0
    assert use() == expected


def test_the_feature_cache(tmp_path: Path, seeds: range) -> None:
    numbers = np.random.default_rng(0).random((20, 5)).astype(np.float32)
    key, cache = FeatureKey.of({"backbone": "x"}, 20, 5), FeatureCache(tmp_path)

    def use() -> bytes:
        return cache.open(key, lambda _: [numbers]).tobytes()

    expected = use()
    for file in [path for path in tmp_path.iterdir() if path.suffix != ".lock"]:
        assert require_sound(file, use, expected, seeds) == 0


def test_which_images_are_copies(tmp_path: Path, seeds: range) -> None:
    paths = list(write_images(tmp_path / "images"))
    shutil.copy(tmp_path / "images" / paths[0], tmp_path / "images" / paths[3])
    states = file_states(tmp_path / "images", paths)

    def use() -> list[int]:
        found: list[int] = copies(tmp_path / "images", paths, states, tmp_path).tolist()
        return found

    expected = use()
    (file,) = tmp_path.glob("*.copies")
    assert require_sound(file, use, expected, seeds) == 0


def test_the_images_that_a_study_began_with(tmp_path: Path, seeds: range) -> None:
    list(write_images(tmp_path / "images"))
    written = ImagesAtStart.of(prepare(DatasetConfig(path="images"), 8, Workspace(tmp_path)))
    file = tmp_path / "images.npz"
    written.write(file)
    known = fields(written)

    def use() -> list[str]:
        read = ImagesAtStart.read(file)
        return known if read is None else fields(read)

    assert require_sound(file, use, known, seeds) == 0


def fields(images: ImagesAtStart) -> list[str]:
    return [repr(value.tolist() if isinstance(value, np.ndarray) else value) for value in vars(images).values()]


def test_probabilities_of_folds(tmp_path: Path, seeds: range) -> None:
    from sweeper.safeguards.arrays import packed

    numbers = np.random.default_rng(0).random((9, 4))
    (tmp_path / "judged.npz").write_bytes(packed(probabilities=numbers))

    def use() -> bytes:
        found = _known(tmp_path / "judged.npz", (9, 4))
        return (numbers if found is None else found).tobytes()

    assert require_sound(tmp_path / "judged.npz", use, numbers.tobytes(), seeds) == 0


def test_what_is_learned_of_memory_and_time_and_which_lists_were_written(tmp_path: Path, seeds: range) -> None:
    """None of it is a number in a result: what is read may be nothing, and must be possible."""
    limits, times, lists = tmp_path / "limits", tmp_path / "times", tmp_path / RECORD
    limits.write_text(Limits(training=32, evaluation=64).model_dump_json())
    times.write_text(StepTimes(plain_s=0.5).model_dump_json())
    WrittenFiles(tmp_path).write(tmp_path / "train.csv", b"path,label\n")

    def use() -> bool:
        learned = recall_limits(limits)
        Compilation(False, times).recall()
        WrittenFiles(tmp_path).holds(tmp_path / "train.csv")
        return (learned.training or 1) > 0 and (learned.evaluation or 1) > 0

    for file in (limits, times, lists):
        assert require_sound(file, use, True, seeds) == 0


def test_a_confusion_matrix_is_one_of_the_same_classes_or_refused(tmp_path: Path, seeds: range) -> None:
    """It is read by people and other programs too and bears no digest: that its counts are right is not promised."""
    file = tmp_path / "c.csv"
    write_confusion(file, np.arange(9).reshape(3, 3), ["cat", "=dog", "tree"])

    def use() -> bool:
        matrix, classes = read_confusion(file)
        return matrix.shape == (len(classes), len(classes)) and int(matrix.min(initial=0)) >= 0

    require_sound(file, use, True, seeds, ValueError)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_export(name: str, folder: Path, seeds: range) -> None:
    expected = load_export(folder)
    weights = {key: value.numpy().tobytes() for key, value in expected.classifier.state_dict().items()}

    def use() -> Any:
        loaded = load_export(folder)
        found = {key: value.numpy().tobytes() for key, value in loaded.classifier.state_dict().items()}
        return loaded.config, found

    assert require_sound(folder / name, use, (expected.config, weights), seeds, ExportError)


@pytest.fixture
def folder(report: Any, tmp_path: Path) -> Path:
    """A copy of an export, to be damaged."""
    return Path(shutil.copytree(report.folder, tmp_path / "colours"))


def test_a_cache_that_was_touched_or_copied_is_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(write_images(tmp_path / "images"))
    dataset = DatasetConfig(path="images")
    before = prepare_images(dataset, 8, Workspace(tmp_path)).images.tobytes()
    for file in (tmp_path / ".sweeper/cache").glob("*.npy"):
        os.utime(file, ns=(1, 1))
    monkeypatch.setattr("sweeper.data.cache.build_images", lambda *_: pytest.fail("decoded again"))
    assert prepare_images(dataset, 8, Workspace(tmp_path)).images.tobytes() == before

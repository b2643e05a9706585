"""The same images in every layout are the same data set. A new layout is one line in WRITERS."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from sweeper.config.dataset import DatasetConfig, Layout
from sweeper.data.image_set import ImageSet
from sweeper.data.index import build_index
from sweeper.data.listing import Split
from sweeper.data.prepare import prepare_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import picture, write_picture

SIDE = 12


@dataclass(frozen=True)
class Sample:
    """An image that no other seed gives."""

    seed: int
    label: str
    split: Split


@dataclass(frozen=True)
class Written:
    """Where `dataset.path` leads, and the file of each sample."""

    path: Path
    files: dict[Sample, Path]


Writer = Callable[[Path, list[Sample]], Written]


def write_folders(root: Path, samples: list[Sample]) -> Written:
    files = {sample: root / sample.split / sample.label / f"{sample.seed}.png" for sample in samples}
    return Written(root, draw(files))


def write_csv(root: Path, samples: list[Sample]) -> Written:
    files = draw({sample: root / "images" / f"{sample.seed}.png" for sample in samples})
    with (root / "labels.csv").open("w", newline="") as file:
        rows = [(f"images/{sample.seed}.png", sample.label, sample.split) for sample in samples]
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return Written(root / "labels.csv", files)


def write_tiny_imagenet(root: Path, samples: list[Sample]) -> Written:
    def place(sample: Sample) -> Path:
        inside = Path("val", "images") if sample.split == "val" else Path("train", sample.label, "images")
        return root / inside / f"{sample.seed}.png"

    files = draw({sample: place(sample) for sample in samples})
    classes = sorted({sample.label for sample in samples if sample.split == "train"})
    lines = [f"{sample.seed}.png\t{sample.label}\t0\t0\t9\t9" for sample in samples if sample.split == "val"]
    (root / "wnids.txt").write_text("\n".join(classes) + "\n")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return Written(root, files)


WRITERS: dict[str, Writer] = {
    "folder": write_folders,
    "csv": write_csv,
    "tiny-imagenet": write_tiny_imagenet,
}

SAMPLES = [
    *(Sample(seed, "cat" if seed % 2 else "a dog", "train") for seed in range(6)),
    *(Sample(seed, "cat" if seed % 2 else "a dog", "val") for seed in range(6, 10)),
]


def draw(files: dict[Sample, Path]) -> dict[Sample, Path]:
    for sample, file in files.items():
        write_picture(file, sample.seed, SIDE, SIDE)
    return files


@pytest.fixture(params=get_args(Layout))
def layout(request: pytest.FixtureRequest) -> str:
    if request.param not in WRITERS:
        pytest.fail(f"the layout {request.param} has no writer; add one to WRITERS")
    return str(request.param)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def prepared(path: Path, workspace: Workspace, layout: str = "auto") -> ImageSet:
    dataset = DatasetConfig.model_validate({"path": str(path), "layout": layout})
    return prepare_images(dataset, SIDE, workspace)


def contents(images: ImageSet, split: str) -> dict[bytes, str]:
    """Return the class of each image of a split, by its pixels."""
    rows = images.splits[split].tolist()  # type: ignore[index]
    return {images.images[row].tobytes(): images.classes[images.labels[row]] for row in rows}


def expected(samples: list[Sample], split: str) -> dict[bytes, str]:
    return {
        np.asarray(picture(sample.seed, SIDE, SIDE)).tobytes(): sample.label
        for sample in samples
        if sample.split == split
    }


@pytest.mark.parametrize("named", [False, True], ids=["recognised", "named"])
def test_classes_splits_labels_and_pixels_are_those_that_were_written(
    layout: str, named: bool, tmp_path: Path, workspace: Workspace
) -> None:
    written = WRITERS[layout](tmp_path / "d", SAMPLES)
    images = prepared(written.path, workspace, layout if named else "auto")
    assert images.classes == ("a dog", "cat")
    assert set(images.splits) == {"train", "val"}
    assert contents(images, "train") == expected(SAMPLES, "train")
    assert contents(images, "val") == expected(SAMPLES, "val")


def test_the_order_in_which_files_and_lists_were_written_does_not_matter(
    layout: str, tmp_path: Path, workspace: Workspace
) -> None:
    first, second = (
        prepared(WRITERS[layout](tmp_path / name, samples).path, workspace)
        for name, samples in (("first", SAMPLES), ("second", SAMPLES[::-1]))
    )
    assert (first.images == second.images).all()
    assert first.digest == second.digest


@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[-1]], ids=lambda sample: sample.split)
def test_a_missing_file_is_named_or_its_image_is_not_counted(
    layout: str, sample: Sample, tmp_path: Path, workspace: Workspace
) -> None:
    written = WRITERS[layout](tmp_path / "d", SAMPLES)
    written.files[sample].unlink()
    names = {file.name for file in written.files.values()}
    gone = written.files[sample].name
    assert files_or_message(written.path, workspace) in (names - {gone}, {f"refused, with {gone}"})


def files_or_message(path: Path, workspace: Workspace) -> set[str]:
    """Return the names of the images that are found, or of those that a refusal names."""
    try:
        return {Path(found).name for found in build_index(DatasetConfig(path=str(path)), workspace).paths}
    except DatasetError as error:
        return {f"refused, with {name}" for name in re.findall(r"\d+\.png", str(error))}


def test_a_broken_image_is_refused_with_its_file(layout: str, tmp_path: Path, workspace: Workspace) -> None:
    written = WRITERS[layout](tmp_path / "d", SAMPLES)
    file = written.files[SAMPLES[3]]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DatasetError, match=file.name):
        prepared(written.path, workspace)


def test_a_class_without_training_images_is_refused_by_its_name(
    layout: str, tmp_path: Path, workspace: Workspace
) -> None:
    written = WRITERS[layout](tmp_path / "d", [*SAMPLES, Sample(99, "zebra", "val")])
    with pytest.raises(DatasetError, match="zebra"):
        prepared(written.path, workspace)


def test_a_path_that_is_not_there_is_refused_by_its_name(layout: str, tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        prepared(tmp_path / "nowhere", workspace, layout)

"""Predictions of an export are those that its accuracy was measured by, whatever the input looks like."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sweeper.config.dataset import CsvConfig
from sweeper.data.batches import DeviceImages
from sweeper.errors import DatasetError
from sweeper.export.export import ExportReport
from sweeper.export.load import load_export
from sweeper.paths import folder_of_class
from sweeper.predict.inputs import InputImage, find_inputs
from sweeper.predict.predict import Prediction, predict_images
from sweeper.predict.predictions_csv import predictions_csv
from sweeper.predict.sorting import SortedCopies
from tests.export.conftest import make_images
from tests.pictures import write_picture

CPU = torch.device("cpu")


def predicted(report: ExportReport, images: list[InputImage], top: int = 1, batch_size: int = 25) -> list[Prediction]:
    export = load_export(report.folder)
    return list(predict_images(export, images, top=top, batch_size=batch_size, device=CPU))


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> list[InputImage]:
    """The validation images of the export as files."""
    folder = tmp_path_factory.mktemp("val")
    for number, pixels in enumerate(make_images(16)):
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return find_inputs([str(folder)], CsvConfig()).images


@pytest.mark.parametrize("batch_size", [1, 7, 25])
def test_predictions_on_the_validation_files_give_the_logged_accuracy(
    report: ExportReport, val: DeviceImages, validation: list[InputImage], batch_size: int
) -> None:
    names = [prediction.classes[0] for prediction in predicted(report, validation, batch_size=batch_size)]
    truth = [report.config.classes[label] for label in val.labels.tolist()]
    accuracy = np.mean([name == true for name, true in zip(names, truth, strict=True)])
    assert accuracy == pytest.approx(report.config.metrics["val/accuracy"])


def test_probabilities_of_all_classes_sum_to_one_and_fall(report: ExportReport, validation: list[InputImage]) -> None:
    for prediction in predicted(report, validation[:5], top=99):
        assert sum(prediction.probabilities) == pytest.approx(1)
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
        assert sorted(prediction.classes) == sorted(report.config.classes)


def test_a_bad_image_is_a_row_with_its_reason_and_the_others_keep_their_places(
    report: ExportReport, tmp_path: Path
) -> None:
    good = [str(write_picture(tmp_path / f"{seed}.png", seed)) for seed in range(3)]
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = [
        InputImage(good[0], good[0]),
        InputImage("bad", str(tmp_path / "bad.png")),
        InputImage("gone", "", "there is no such file"),
        InputImage(good[1], good[1]),
    ]
    found = predicted(report, images, batch_size=2)
    assert [prediction.image for prediction in found] == images
    assert [bool(prediction.classes) for prediction in found] == [True, False, False, True]
    assert [prediction.reason for prediction in found] == ["", "not an image in a known format", images[2].reason, ""]
    rows = list(csv.DictReader(predictions_csv(found, 2).splitlines()))
    assert list(rows[0]) == ["path", "class", "probability", "class_2", "probability_2", "reason"]
    assert rows[1] == {**dict.fromkeys(rows[0], ""), "path": "bad", "reason": "not an image in a known format"}


def test_folders_patterns_csv_files_and_single_files_are_inputs(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/deep/2.png", "b/3.jpg"):
        write_picture(tmp_path / name, 1)
    (tmp_path / "list.csv").write_text("id;image_name\n7;a/1\n8;a/none\n9;../outside\n")
    folder = find_inputs([str(tmp_path / "a")], CsvConfig()).images
    assert [Path(image.path).name for image in folder] == ["1.png", "2.png"]
    pattern = find_inputs([str(tmp_path / "**/*.jpg"), str(tmp_path / "b/3.jpg")], CsvConfig()).images
    assert [Path(image.path).name for image in pattern] == ["3.jpg"]
    listed = find_inputs([str(tmp_path / "list.csv")], CsvConfig(extension=".png")).images
    assert [image.name for image in listed] == ["a/1.png", "a/none.png", "../outside.png"]
    assert [image.reason for image in listed] == ["", "the file does not exist", "lies outside the images folder"]


@pytest.mark.parametrize("name", ["nothing", "*.png", "empty"])
def test_a_name_that_stands_for_no_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no image|no such file"):
        find_inputs([name], CsvConfig())


def labelled(path: Path, name: str) -> Prediction:
    return Prediction(InputImage(str(path), str(path)), (name,), (1.0,))


def test_copies_of_one_name_are_all_kept_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out/cat").mkdir(parents=True)
    (tmp_path / "out/cat/x.png").write_bytes(b"mine")
    sources = [write_picture(tmp_path / folder / "x.png", seed) for seed, folder in enumerate("abc")]
    copies = SortedCopies(tmp_path / "out")
    names = [copies.add(labelled(source, "cat")) for source in sources]
    assert [path.name for path in names if path] == ["x-2.png", "x-3.png", "x-4.png"]
    assert [path.read_bytes() for path in names if path] == [source.read_bytes() for source in sources]
    assert (tmp_path / "out/cat/x.png").read_bytes() == b"mine"
    assert copies.add(replace(labelled(sources[0], "cat"), classes=())) is None


def test_copies_that_an_earlier_run_made_are_not_made_again(tmp_path: Path) -> None:
    sources = [write_picture(tmp_path / folder / "x.png", seed) for seed, folder in enumerate("ab")]
    first, *again = [
        {source: copies.add(labelled(source, "cat")) for source in order}
        for order in (sources, sources[::-1], sources)
        for copies in [SortedCopies(tmp_path / "out")]
    ]
    assert again == [first, first]
    new = write_picture(tmp_path / "0" / "x.png", 7)
    copies = SortedCopies(tmp_path / "out")
    found = [copies.add(labelled(source, "cat")) for source in (new, *sources, sources[0])]
    assert [path.name for path in found if path] == ["x-3.png", "x.png", "x-2.png", "x-4.png"]


def test_an_interrupted_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any, write: Any) -> None:
        write.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SortedCopies(tmp_path / "out").add(labelled(write_picture(tmp_path / "x.png", 0), "cat"))
    assert list((tmp_path / "out/cat").iterdir()) == []


def test_a_class_folder_that_is_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="leads elsewhere"):
        SortedCopies(tmp_path / "out").add(labelled(write_picture(tmp_path / "x.png", 0), "cat"))
    assert not list((tmp_path / "elsewhere").iterdir())


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2, unique=True))
def test_folders_of_classes_differ_and_lead_nowhere(names: list[str]) -> None:
    folders = [folder_of_class(name) for name in names]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder not in ("", ".", "..")
        assert not set(folder) & {"/", "\0", "\\"}
        assert len(folder.encode()) <= 255


def test_usual_class_names_are_their_own_folders() -> None:
    usual = ["cat", "Ärger", "n01443537", "homer simpson", "a-b_c.d"]
    assert [folder_of_class(name) for name in usual] == usual
    assert folder_of_class("../etc") == "%%2E%2E%2Fetc"

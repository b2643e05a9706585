"""One picture in every form: the program in the export, the served model and `predict` say the same of each."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from sweeper.export.export_config import read_config
from sweeper.finished.register import servable
from sweeper.tracking.model_registry import save_served
from tests.field.odd_forms import odd_forms
from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

SPACE = """
study: odd
dataset: {path: d, val_fraction: 0.3}
budget: {trials: 1, epochs: 2}
device: cpu
search: {backbone: test_resnet, image_size: 24, batch_size: 8}
"""
FORMS = sorted(odd_forms())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study of all forms has been run, exported and used to label them."""
    folder = tmp_path_factory.mktemp("odd")
    for side, name in enumerate(("left", "right")):
        (folder / "d" / name).mkdir(parents=True)
        for form, data in odd_forms(side).items():
            (folder / "d" / name / form).write_bytes(data)
    (folder / "space.yaml").write_text(SPACE)
    for command in ("run space.yaml --no-report", "best odd --export --no-register", "predict odd d --csv out.csv"):
        done = sweeper(*command.split(), folder=folder)
        assert done.returncode == 0, done.stderr + done.stdout
    return folder


@pytest.fixture(scope="module")
def predicted(folder: Path) -> dict[str, tuple[str, float]]:
    """What `predict` says of every file."""
    rows = csv.DictReader((folder / "out.csv").read_text().splitlines())
    return {row["path"]: (row["class"], float(row["probability"])) for row in rows}


def test_every_form_is_trained_on_and_labelled(folder: Path, predicted: dict[str, tuple[str, float]]) -> None:
    assert sorted(predicted) == [f"d/{name}/{form}" for name in ("left", "right") for form in FORMS]
    card = json.loads((folder / "exports/odd/config.json").read_text())["lineage"]["dataset"]
    assert sum(card["images"].values()) == 2 * len(FORMS)


def test_the_program_in_the_export_equals_predict_on_every_form(
    folder: Path, predicted: dict[str, tuple[str, float]]
) -> None:
    files = sorted(predicted)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "exports/odd/label.py", *files],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    for file, (path, name, probability) in zip(files, lines, strict=True):
        assert path == file
        assert name == predicted[file][0], file
        assert float(probability) == pytest.approx(predicted[file][1], abs=2e-4), file


def test_the_program_of_the_export_names_what_is_not_an_image_and_labels_the_rest(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    (tmp_path / "steers\x1b[31m.png").write_bytes(b"")
    files = [tmp_path / "note.png", folder / "d/left/plain.png", tmp_path / "steers\x1b[31m.png", tmp_path / "gone.png"]
    command = [sys.executable, "exports/odd/label.py", *map(str, [*files, folder / "d/right/plain.png"])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    labelled = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert labelled == [str(folder / "d" / side / "plain.png") for side in ("left", "right")]
    told = done.stderr.splitlines()
    assert len(told) == 3
    assert told[0] == f"{tmp_path}/note.png: not an image in a known format"
    assert told[1] == f"{tmp_path}/steers\\x1b[31m.png: the file is empty"
    assert told[2].startswith(f"{tmp_path}/gone.png: ")


def test_predict_fails_where_not_one_file_is_an_image(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    note = str(tmp_path / "note.png")
    alone = sweeper("predict", "odd", note, folder=folder)
    assert alone.returncode == 3
    assert "0 images labelled; 1 unreadable" in alone.stderr
    assert sweeper("predict", "odd", note, "d/left/plain.png", folder=folder).returncode == 0


def test_the_program_in_the_export_without_an_image_says_how_it_is_called(folder: Path) -> None:
    command = [sys.executable, "exports/odd/label.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: python label.py IMAGE ...\n"
    asked = subprocess.run([*command, "--help"], cwd=folder, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, done.stderr, "")


@pytest.fixture(scope="module")
def served(folder: Path) -> Any:
    export = folder / "exports/odd"
    save_served(servable(export, read_config(export / "config.json")), folder / "served")
    return mlflow.pyfunc.load_model(str(folder / "served"))


def test_the_served_model_equals_predict_on_every_form(
    folder: Path, served: Any, predicted: dict[str, tuple[str, float]]
) -> None:
    files = sorted(predicted)
    answer = served.predict(pd.DataFrame({"image": [(folder / file).read_bytes() for file in files]}))
    for file, name, probability in zip(files, answer["class"], answer["probability"], strict=True):
        assert name == predicted[file][0], file
        assert probability == pytest.approx(predicted[file][1], abs=2e-4), file


def test_a_served_model_that_is_given_a_path_says_what_it_wants(folder: Path, served: Any) -> None:
    with pytest.raises(MlflowException) as refused:
        served.predict(pd.DataFrame({"image": [str(folder / "d/left/plain.png")]}))
    assert "the column `image` holds the bytes of image files: open(path, 'rb').read()" in str(refused.value)


def test_interpolation_and_depth_stand_in_words_and_in_the_configuration(folder: Path) -> None:
    config = json.loads((folder / "exports/odd/config.json").read_text())
    assert config["interpolation"] == "bicubic"
    assert config["depth"] == {"bits": 16, "tags_first": True}
    assert "bicubic interpolation" in (folder / "exports/odd/README.md").read_text()


def test_an_export_of_the_program_needs_nothing_but_its_folder(folder: Path) -> None:
    names = {path.name for path in (folder / "exports/odd/picture").glob("*.py")}
    text = "".join((folder / "exports/odd/picture" / name).read_text() for name in names)
    assert "import sweeper" not in text
    assert "from sweeper" not in text
    assert "torch" not in text

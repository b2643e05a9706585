"""A working directory may have any name: what means something in an address leads nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.addresses import absolute, portable, sqlite_address, sqlite_file
from tests.functional.program import sweeper
from tests.pictures import write_split_folders

pytestmark = pytest.mark.sweeps

NAMES = ["a?b", "a#b", "a%41b", "a b", "q'u\"o", "new\nline", "a{b}", "ä", "a&b=c", "a:b@c", "a;b\\c"]
SPACE = """
study: s
dataset: {path: images}
budget: {trials: 1, epochs: 1}
device: cpu
search: {backbone: test_resnet, image_size: 8, batch_size: 4}
"""


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_an_address_gives_back_the_file_that_it_was_made_from(name: str) -> None:
    file = Path("/work") / name / "optuna.db"
    assert sqlite_file(sqlite_address(file), Path("/elsewhere")) == file


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_written_relative_to_its_folder_and_means_the_new_place_when_that_moves(name: str) -> None:
    written = portable(sqlite_address(Path("/old") / name / "mlflow.db"), Path("/old") / name)
    assert "old" not in written
    assert sqlite_file(absolute(written, Path("/new") / name), Path("/elsewhere")) == Path("/new") / name / "mlflow.db"


@pytest.mark.parametrize("address", ["http://host:5000", "postgresql://u:p@h/d", "./mlruns", "sqlite://", "no address"])
def test_an_address_of_anything_else_stays_as_it_is(address: str) -> None:
    assert sqlite_file(address, Path("/work")) is None
    assert portable(address, Path("/work")) == absolute(address, Path("/work")) == address


def test_a_study_in_a_folder_of_an_odd_name_is_run_recorded_and_exported_inside_it(tmp_path: Path) -> None:
    folder = tmp_path / "a?b#c%41 d'e\"f{g}\nh"
    write_split_folders(folder / "images")
    (folder / "space.yaml").write_text(SPACE)
    done = sweeper("run", "space.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "not in MLflow" not in done.stdout
    exported = sweeper("best", "s", "--export", folder=folder)
    assert exported.returncode == 0, exported.stderr
    assert "registered as version 1 of s" in exported.stdout
    assert sweeper("doctor", "s", folder=folder).returncode == 0
    assert {path.name for path in folder.iterdir()} >= {"mlflow.db", "mlruns", "optuna.db", "exports", ".sweeper"}
    assert list(tmp_path.iterdir()) == [folder]

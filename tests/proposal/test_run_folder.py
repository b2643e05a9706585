"""`sweeper run FOLDER`: the search space that is written for a folder of images, and found again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.functional.program import sweeper
from tests.proposal.test_proposal import write_photos


@pytest.mark.sweeps
def test_a_folder_of_images_alone_is_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", side=34)
    command = ("run", "photos", "--for", "10m", "--trials", "1", "--epochs", "1", "--no-report")
    ran = sweeper(*command, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "written to photos.yaml, with a reason for each choice" in ran.stdout
    assert "for: 10m" in (tmp_path / "photos.yaml").read_text()
    assert (tmp_path / "exports" / "photos" / "model.onnx").exists()
    again = sweeper("run", "photos", "--set", "search.backbone=nonsense", folder=tmp_path)
    assert "using photos.yaml, written earlier for photos; delete it to get a new one" in again.stdout
    assert again.returncode == 2


@pytest.mark.sweeps
def test_folders_of_one_name_have_search_spaces_of_their_own(tmp_path: Path) -> None:
    for year in ("2023", "2024"):
        write_photos(tmp_path / year / "photos", side=34)

    def brief() -> tuple[str, ...]:
        return "--until", f"{datetime.now() + timedelta(minutes=10, seconds=20):%H:%M:%S}", "--dry-run"

    first = sweeper("run", "2023/photos", *brief(), folder=tmp_path)
    assert first.returncode == 0, first.stderr
    second = sweeper("run", "2024/photos", *brief(), folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "photos.yaml is the search space for other images: 2023/photos" in second.stdout
    assert "written to photos-2.yaml" in second.stdout
    for year, file in (("2023", "photos.yaml"), ("2024", "photos-2.yaml")):
        text = (tmp_path / file).read_text()
        assert f'path: "{year}/photos"' in text
        assert "for: 10m" in text
        assert f"study: {file.removesuffix('.yaml')}" in text
    again = sweeper("run", str(tmp_path / "2024/photos"), *brief(), folder=tmp_path)
    assert "using photos-2.yaml, written earlier for" in again.stdout
    assert not (tmp_path / "photos-3.yaml").exists()


def test_a_folder_with_a_time_that_is_none_is_refused_before_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    ran = sweeper("run", "photos", "--for", "soon", folder=tmp_path)
    assert ran.returncode == 2
    assert "--for: should be seconds or a duration like 45m, 8h or 1d12h, got 'soon'" in ran.stderr
    assert not (tmp_path / "photos.yaml").exists()

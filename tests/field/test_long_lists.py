"""A CSV file of a million rows is read in seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sweeper.config.dataset import DatasetConfig
from sweeper.data.index import read_listing
from sweeper.paths import Workspace
from tests.pictures import write_picture

ROWS, A_FOLDER = 1_000_000, 1000
AT_MOST_S = 10.0


@pytest.mark.slow
def test_a_million_rows_are_read_in_ten_seconds_of_processor_time(tmp_path: Path) -> None:
    write_picture(tmp_path / "one.png", 1, 8, 8)
    lines = ["Path,Label,patient"]
    for number in range(ROWS):
        folder = f"im/{number // A_FOLDER:04d}"
        if number % A_FOLDER == 0:
            (tmp_path / folder).mkdir(parents=True)
        if number % 30_000 == 0:  # file systems limit the links to one file
            source = tmp_path / f"{number}.png"
            source.write_bytes((tmp_path / "one.png").read_bytes())
        os.link(source, tmp_path / folder / f"{number:07d}.png")
        lines.append(f"{folder}/{number:07d}.png,{'abcdefghij'[number % 10]},p{number // 50}")
    (tmp_path / "d.csv").write_text("\n".join(lines))
    started = time.process_time()
    listing = read_listing(DatasetConfig(path=str(tmp_path / "d.csv")), Workspace(tmp_path))
    assert time.process_time() - started < AT_MOST_S
    assert len(listing.paths) == ROWS
    assert len(listing.further[0].values) == ROWS // 50

"""The tutorial can be followed: its commands, one after the other, lead from a folder of pictures to labels."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.functional.program import REPOSITORY, sweeper
from tests.pictures import write_picture

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
SHORTER = {"--hours 0.1": "--hours 0.02", "--for 10m": "--for 3m"}
"""Less time than the tutorial takes, for a few pictures."""


def test_the_tutorial_names_the_time_that_the_test_shortens() -> None:
    assert all(PAGE.count(time) for time in SHORTER)


@pytest.mark.slow  # it searches for three minutes
def test_the_commands_of_the_tutorial_lead_from_a_folder_to_labels(tmp_path: Path) -> None:
    for number, name in enumerate(("airplane", "automobile", "frog", "horse")):
        for picture in range(20):
            write_picture(tmp_path / "photos" / name / f"{picture}.png", 60 * number + picture)
        write_picture(tmp_path / "new" / f"{name}.png", 60 * number)
    for command in re.findall(r"^    (sweeper .*)$", PAGE, re.MULTILINE):
        for time, shorter in SHORTER.items():
            command = command.replace(time, shorter)
        done = sweeper(*shlex.split(command)[1:], folder=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 5
    assert (tmp_path / "reports" / "photos.html").exists()

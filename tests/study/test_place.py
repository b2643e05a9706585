"""Whether a folder with a study is the one that it was, or a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.identity import Identity, Place
from sweeper.paths import Workspace
from sweeper.study.place import Whereabouts, place_here, whereabouts, write_identity


def placed(root: Path) -> Place:
    """Make a folder with a study in it, and return it as a place."""
    folder = Workspace(root).study("s")
    folder.path.mkdir(parents=True)
    place = place_here(Workspace(root), folder)
    write_identity(folder, Identity(id="0" * 12, place=place))
    return place


def test_a_snapshot_with_the_inodes_of_its_original_is_a_copy(tmp_path: Path) -> None:
    original = placed(tmp_path / "work")
    copy = placed(tmp_path / "copy").model_copy(update={"inode": original.inode})
    assert whereabouts(original, copy, "s") is Whereabouts.COPIED


@pytest.mark.parametrize("still_seen", [False, True])
def test_a_renamed_folder_is_the_same_one(tmp_path: Path, still_seen: bool) -> None:
    """Also where the old path leads to it, as that of a folder that is mounted twice."""
    original = placed(tmp_path / "work")
    (tmp_path / "work").rename(tmp_path / "renamed")
    if still_seen:
        (tmp_path / "work").symlink_to("renamed")
    here = place_here(Workspace(tmp_path / "renamed"), Workspace(tmp_path / "renamed").study("s"))
    assert whereabouts(original, here, "s") is Whereabouts.RENAMED

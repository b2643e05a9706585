"""A file that a disk or a network does not give for a moment is not taken for a bad image."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sweeper.curation.file_facts import look_at_files
from sweeper.data import image_file, steady
from sweeper.data.decoded_batches import decoded_batches
from sweeper.data.fingerprint import file_states
from sweeper.errors import DatasetError
from tests.pictures import write_picture


class Unsteady:
    """Opens files, but a named one not the first `times`: the disk or the network has an error."""

    def __init__(self, name: str, times: int, works: Any = open):
        self._name, self._left, self._works = name, times, works

    def __call__(self, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith(self._name) and self._left:
            self._left -= 1
            raise OSError(errno.EIO, "Input/output error")
        return self._works(path, *args, **options)


def test_a_file_whose_state_a_disk_does_not_give_is_no_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"123")
    monkeypatch.setattr(steady, "WAITS_S", (0.0, 0.0))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "stat", Unsteady("a.png", 2, os.stat))
        states = file_states(tmp_path, ["a.png", "gone.png"])
    assert states.table[0, 0] == 3
    assert states.unreadable == {1: "No such file or directory"}
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "stat", Unsteady("a.png", 9, os.stat))
        with pytest.raises(DatasetError, match=r"a.png: the file cannot be read now \(Input/output error\)"):
            file_states(tmp_path, ["a.png"])


def test_a_file_that_a_disk_does_not_give_is_not_listed_as_bad_where_images_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, broken = str(tmp_path / "0001.png"), tmp_path / "broken.png"
    write_picture(Path(file), 0)
    broken.write_bytes(b"no image")
    monkeypatch.setattr(steady, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(image_file, "open", Unsteady("0001.png", 2), raising=False)
    whole, reason = look_at_files([file, str(broken)])
    assert not isinstance(whole, str)
    assert isinstance(reason, str)
    monkeypatch.setattr(image_file, "open", Unsteady("0001.png", 9), raising=False)
    with pytest.raises(DatasetError, match=r"0001.png: the file cannot be read now"):
        look_at_files([file])


def test_labelling_tells_of_a_file_that_a_disk_does_not_give_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(write_picture(tmp_path / f"{number}.png", number)) for number in range(3)]
    monkeypatch.setattr(steady, "WAITS_S", ())
    monkeypatch.setattr(image_file, "open", Unsteady("1.png", 2), raising=False)
    (batch,) = decoded_batches(files, 8, "crop", 3, past_faults=True)
    assert batch.rows == (0, 2)
    assert "the file cannot be read now" in batch.bad[1]
    with pytest.raises(DatasetError, match="the file cannot be read now"):
        list(decoded_batches(files, 8, "crop", 3))

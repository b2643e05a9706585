from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sweeper.errors import ExportError
from sweeper.export.folder import FORMAT, require_replaceable, staged
from sweeper.files import write_whole

NO_PROCESS = 2**22 + 1
"""Above the largest process number that Linux gives."""


def make_export(path: Path, text: str = "old") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"format": FORMAT, "files": ["config.json", "model.onnx"]}))
    (path / "model.onnx").write_text(text)
    return path


def export_interrupted(destination: Path) -> None:
    with staged(destination) as files:
        files.onnx.write_text("new")
        raise KeyboardInterrupt


def test_a_new_export_appears_with_its_parents(tmp_path: Path) -> None:
    with staged(tmp_path / "exports" / "mine") as files:
        files.onnx.write_text("new")
        assert not (tmp_path / "exports" / "mine").exists()
    assert (tmp_path / "exports" / "mine" / "model.onnx").read_text() == "new"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    with staged(tmp_path / "mine") as files:
        (tmp_path / "mine").mkdir()
        files.onnx.write_text("new")
    assert (tmp_path / "mine" / "model.onnx").exists()


def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    earlier = make_export(tmp_path / "mine")
    with staged(earlier) as files:
        files.card.write_text("new")
    assert [path.name for path in earlier.iterdir()] == ["README.md"]
    assert list(tmp_path.iterdir()) == [earlier]


def test_an_error_leaves_the_earlier_export(tmp_path: Path) -> None:
    earlier = make_export(tmp_path / "mine")
    with pytest.raises(KeyboardInterrupt):
        export_interrupted(earlier)
    assert (earlier / "model.onnx").read_text() == "old"
    assert list(tmp_path.iterdir()) == [earlier]


def test_a_rename_that_fails_brings_the_earlier_export_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = make_export(tmp_path / "mine")
    rename = Path.rename

    def fail_for_staging(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_staging)
    with pytest.raises(ExportError, match="cannot be written: no space left"), staged(earlier) as files:
        files.onnx.write_text("new")
    assert (earlier / "model.onnx").read_text() == "old"


@pytest.mark.parametrize("foreign", ["notes.txt", "sub/notes.txt", ".hidden"])
def test_foreign_files_are_never_replaced(tmp_path: Path, foreign: str) -> None:
    folder = make_export(tmp_path / "mine")
    (folder / foreign).parent.mkdir(exist_ok=True)
    (folder / foreign).write_text("mine")
    with pytest.raises(ExportError, match=f"holds what no export wrote.*{foreign}"):
        require_replaceable(folder)


@pytest.mark.parametrize("config", ['{"files": ["config.json"]}', "[]", "{", '{"format": "sweeper-export"}'])
def test_a_config_json_of_others_is_not_an_export(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ExportError, match="name another folder"):
        require_replaceable(tmp_path)


def test_a_file_put_there_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    notes = tmp_path / "mine" / "notes.txt"
    with pytest.raises(ExportError, match="holds what no export wrote"), staged(tmp_path / "mine"):
        write_whole(notes, "mine")
    assert notes.read_text() == "mine"


def test_a_file_is_not_a_destination(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExportError, match="is a file"):
        require_replaceable(tmp_path / "mine")


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    make_export(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with staged(tmp_path / "link") as files:
        files.onnx.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "model.onnx").read_text() == "new"


def test_an_export_killed_between_its_renames_is_undone_by_the_next(tmp_path: Path) -> None:
    make_export(tmp_path / f".mine.{NO_PROCESS}.earlier")
    make_export(tmp_path / f".mine.{NO_PROCESS}.partial", "half")
    with pytest.raises(KeyboardInterrupt):
        export_interrupted(tmp_path / "mine")
    assert (tmp_path / "mine" / "model.onnx").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_another_process_that_is_exporting_is_left_alone(tmp_path: Path) -> None:
    other = make_export(tmp_path / f".mine.{os.getppid()}.partial")
    with staged(tmp_path / "mine") as files:
        files.onnx.write_text("new")
    assert other.exists()


def test_an_unwritable_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"), staged(tmp_path / "file" / "mine"):
        pass


def test_what_is_left_of_an_export_of_a_longer_name_is_not_taken(tmp_path: Path) -> None:
    killed = make_export(tmp_path / ".a.b.999999999.earlier")
    with staged(tmp_path / "a") as files:
        files.path.joinpath("README.md").write_text("new")
    assert killed.is_dir()
    assert (tmp_path / "a/README.md").read_text() == "new"


@pytest.mark.parametrize("left", [".DS_Store", "sub/Thumbs.db", "desktop.ini", "._model.onnx", "__MACOSX/x"])
def test_what_the_system_leaves_in_a_folder_keeps_no_export_out(tmp_path: Path, left: str) -> None:
    folder = make_export(tmp_path / "mine")
    (folder / left).parent.mkdir(exist_ok=True)
    (folder / left).write_text("of the system")
    with staged(folder) as files:
        files.onnx.write_text("new")
    assert (folder / "model.onnx").read_text() == "new"

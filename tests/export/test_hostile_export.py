"""An export from a stranger: bounded, checked, refused on one line, without asking anyone on the network."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import ExportError
from sweeper.export.export_config import read_config
from sweeper.export.folder import require_replaceable
from sweeper.export.load import load_export
from sweeper.finished.register import servable
from sweeper.paths import ExportFolder
from sweeper.seal import SEAL, seal_of
from tests.functional.answer import Ask, ask

__all__ = ["ask"]  # a fixture

Content = dict[str, Any]
Change = Callable[[Content], None]


def setting(*path: str | int, to: Any) -> Change:
    """Return what sets one value of a configuration."""

    def change(content: Content) -> None:
        inner: Any = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


HOSTILE = {
    "a huge image": setting("image_size", to=1e9),
    "a large image": setting("image_size", to=100_000),
    "no image": setting("image_size", to=0),
    "a size below nothing": setting("stored_size", to=-1),
    "no spread": setting("std", to=[0, 0.2, 0.2]),
    "an endless mean": setting("mean", to=[1e300, 0, 0]),
    "one channel": setting("mean", to=[0.5]),
    "temperature 0": setting("calibration", "temperature", to=0),
    "a temperature below 0": setting("calibration", "temperature", to=-1),
    "an endless temperature": setting("calibration", "temperature", to=1e300),
    "a class twice": setting("classes", to=["cat", "cat", "dog", "x", "y"]),
    "no class": setting("classes", to=[]),
    "a class too many": setting("classes", to=["a", "b", "c", "d", "e", "f"]),
    "many classes": setting("classes", to=[str(number) for number in range(900_000)]),
    "a long class": setting("classes", 0, to="x" * 20_000),
    "a hub": setting("architecture", to="hf-hub:evil/x"),
    "a hub, the other way": setting("architecture", to="hf_hub:evil/x"),
    "a folder": setting("architecture", to="local-dir:/tmp"),
    "an unknown architecture": setting("architecture", to="resnet18\nerror: all is well"),
    "a hub in a member": lambda content: content.update(
        form="ensemble",
        members=[{"trial": 0, "run_id": None, "architecture": "hf-hub:evil/x", "head": content["head"]}] * 2,
    ),
    "an ensemble of nobody": setting("form", to="ensemble"),
    "a wide head": setting("head", "hidden", to=[10**12]),
    "many bits": setting("depth", "bits", to=10**6),
    "a number for a text": setting("architecture", to=3),
    "a text for a number": setting("image_size", to="sixteen"),
    "a list for a table": setting("lineage", to=[]),
    "another key": setting("run", to="rm -rf /"),
    "a key that is text for the terminal": setting("\x1b[2J\nerror: x", to=1),
    "a study elsewhere": setting("lineage", "study", to="../../secret"),
    "a file elsewhere": setting("files", to=["model.onnx./../../secret"]),
    "an absolute file": setting("files", to=["/etc/passwd"]),
    "code elsewhere": setting("model_files", to=["../evil.py"]),
    "no accuracy": setting("metrics", to={}),
    "no number": setting("metrics", to={"val/accuracy": float("nan")}),
    "everything missing": lambda content: content.clear(),
}


def rewrite(folder: Path, change: Change) -> None:
    """Change a configuration as someone does who knows how it is sealed."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps({**content, SEAL: seal_of(content)}))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("someone on the network was asked")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_configuration_beyond_its_bounds_is_refused_on_one_line(change: Change, folder: Path) -> None:
    rewrite(folder, change)
    with pytest.raises(ExportError) as refusal:
        load_export(folder)
    message = str(refusal.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 1000
    assert "config.json" in message


@pytest.mark.usefixtures("no_network")
def test_the_export_itself_is_loaded_without_network(folder: Path) -> None:
    rewrite(folder, lambda _: None)
    assert load_export(folder).config.architecture == "small_resnet"


def deep() -> bytes:
    return b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "content", [b"", b"null", b"3", b'"text"', b"[]", b"\xff\xfe", b"{", deep(), b'{"a":' * 3000 + b"1" + b"}" * 3000]
)
def test_other_content_is_not_a_configuration(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"config\.json is not the configuration of an export"):
        load_export(folder)
    with pytest.raises(ExportError, match="holds what no export wrote"):
        require_replaceable(folder)


def test_a_pipe_or_a_folder_in_place_of_the_configuration_is_not_read(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(ExportError, match="not a regular file"):
        load_export(folder)


def test_a_huge_configuration_is_refused_unread(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(10**12)  # a hole
    with pytest.raises(ExportError, match="larger than"):
        load_export(folder)


def test_an_edited_configuration_is_not_taken_for_what_was_written(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"stored_size": 16', '"stored_size": 18'))
    with pytest.raises(ExportError, match="not as it was written"):
        read_config(path)


def take(folder: Path) -> None:
    """Use both networks of an export."""
    load_export(folder)
    servable(folder, read_config(folder / "config.json"))


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx"])
def test_networks_of_another_export_are_not_taken_for_its_own(name: str, folder: Path) -> None:
    take(folder)
    content = bytearray((folder / name).read_bytes())
    content[-100] ^= 1  # within the last layer
    (folder / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{name} is damaged"):
        take(folder)


def test_no_file_from_outside_is_registered_with_an_export(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    shutil.move(folder / "README.md", tmp_path / "card")
    (folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ExportError, match=r"README\.md' outside the export"):
        servable(folder, read_config(folder / "config.json"))


def test_what_prepares_images_in_a_registered_model_is_ours_and_not_the_exports(folder: Path) -> None:
    (folder / "picture/__init__.py").write_text("raise SystemExit('run')")
    taken = servable(folder, read_config(folder / "config.json"))
    assert not taken.picture.is_relative_to(folder)


def test_a_huge_batch_is_no_more_than_memory_should_hold(folder: Path) -> None:
    rewrite(folder, setting("lineage", "hyperparameters", "batch_size", to=2**20))
    config = read_config(folder / "config.json")
    assert config.batch_size == 2**30 // (12 * config.image_size**2)
    rewrite(folder, setting("lineage", "hyperparameters", "batch_size", to=25))
    assert read_config(folder / "config.json").batch_size == 25


@pytest.mark.usefixtures("no_network")
def test_the_program_refuses_with_one_line_and_exit_code_6(folder: Path, ask: Ask) -> None:
    rewrite(folder, setting("architecture", to="hf-hub:evil/x"))
    for command in (["predict", str(folder), "."], ["evaluate", str(folder), "--data", "."]):
        (folder.parent / "a.png").write_bytes(b"")
        answer = ask(*command)
        assert answer.code == 6
        assert "\n" not in answer.err.strip()
        assert "unknown architecture hf-hub:evil/x" in answer.err
    assert ExportFolder(folder).config.is_file()

"""Which files are images: by content, never by what Pillow would also open; all others are counted and named."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.curation.image_list import read_image_list
from sweeper.data.decode import BadImage, decode, decode_whole
from sweeper.data.index import build_index
from sweeper.data.picture import prepared
from sweeper.data.picture.formats import FORMATS, is_image
from sweeper.data.scan import find_files
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from sweeper.predict.inputs import find_inputs
from tests.field.odd_forms import odd_forms, saved
from tests.functional.answer import Ask, ask
from tests.pictures import encoded, picture, write_class_folders

__all__ = ["ask"]  # a fixture

PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(ran) print\n0 0 16 16 rectfill\nshowpage\n"
WMF = b"\xd7\xcd\xc6\x9a" + bytes(60)
FOREIGN = {
    "EPS (PostScript)": PROGRAM,
    "PDF": b"%PDF-1.4\n1 0 obj\n",
    "WMF": WMF,
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(20),
    "DICOM": bytes(128) + b"DICM" + bytes(60),
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "icon (ICO)": saved(picture(1, 16, 16), "ICO"),
}
KNOWN_TO_PILLOW = {"EPS": PROGRAM, "ICO": FOREIGN["icon (ICO)"], "TGA": saved(picture(1, 16, 16), "TGA")}


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when Pillow begins to read PostScript, whose next step is to start a program on it."""
    from PIL import EpsImagePlugin

    def refuse(*_: object) -> None:
        raise AssertionError("PostScript was opened")

    monkeypatch.setattr(EpsImagePlugin.EpsImageFile, "_open", refuse)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", refuse)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_never_opened_and_refused_by_name(kind: str) -> None:
    config = {"stored_size": 16, "image_size": 16, "resize": "crop", "mean": [0.0] * 3, "std": [1.0] * 3}
    for look in (lambda data: decode(data, 16, "crop"), decode_whole, lambda data: prepared(data, config)):
        with pytest.raises(ValueError, match=r"not an image in a known format but .*convert it to PNG or JPEG") as said:
            look(FOREIGN[kind])
        assert kind in str(said.value)
        assert isinstance(said.value, BadImage)


def test_pillow_would_open_what_is_refused() -> None:
    """The refusal is ours: without it these would be read."""
    for name, data in KNOWN_TO_PILLOW.items():
        assert Image.open(io.BytesIO(data)).format == name
        with pytest.raises(BadImage):
            decode(data, 16, "crop")


@pytest.mark.parametrize("name", sorted(odd_forms()))
def test_every_format_is_known_by_its_first_bytes(name: str) -> None:
    data = odd_forms()[name]
    assert is_image(data[:256])
    assert decode_whole(data).format in {*FORMATS, "MPO"}


@pytest.mark.parametrize(
    "text", [b"BM is short for\nbookmark, said the reader of 40 words", b"P1 was the first of them", b"II"]
)
def test_a_text_that_begins_like_an_image_is_none(text: bytes) -> None:
    assert not is_image(text)


def write_zoo(root: Path) -> None:
    write_class_folders(root, {"a": 2, "b": 2})
    for form, data in odd_forms().items():
        (root / "a" / form).write_bytes(data)
    (root / "b/notes.txt").write_text("an image lies beside me")
    (root / "b/label.xml").write_text("<annotation/>")
    (root / "b/other.xml").write_text("<annotation/>")
    (root / "b/photo.heic").write_bytes(FOREIGN["HEIC"])
    (root / "b/drawing").write_bytes(FOREIGN["SVG"])
    (root / "b/raw.NEF").write_bytes(odd_forms()["deep.tif"])
    (root / "b/Thumbs.db").write_bytes(b"x")
    (root / "b/gone").symlink_to("nowhere")


OTHERS = {".txt": 1, ".xml": 2, "HEIC": 1, "SVG": 1, "camera raw": 1, "unreadable (No such file or directory)": 1}


def test_images_are_taken_with_any_suffix_or_none_and_the_rest_is_counted_by_kind(tmp_path: Path) -> None:
    write_zoo(tmp_path / "d")
    index = build_index(DatasetConfig(path=str(tmp_path / "d")), Workspace(tmp_path))
    assert {Path(path).name for path in index.paths} >= set(odd_forms())
    assert len(index.paths) == len(odd_forms()) + 4
    assert dict(index.notes.others) == OTHERS
    inputs = find_inputs([str(tmp_path / "d")], CsvConfig())
    assert len(inputs.images) == len(odd_forms()) + 4
    assert dict(inputs.others) == OTHERS
    assert dict(find_inputs([str(tmp_path / "d/b/*")], CsvConfig()).others) == OTHERS
    assert dict(read_image_list(tmp_path / "d", CsvConfig(), Workspace(tmp_path)).notes.others) == OTHERS


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d/pipe")
    assert find_files(tmp_path / "d").others == Counter({"not a regular file": 1})


def test_a_folder_of_other_files_is_refused_with_their_kinds(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "photo.heic").write_bytes(FOREIGN["HEIC"])
    with pytest.raises(DatasetError, match="no images found; 2 HEIC are of a kind that is not read"):
        build_index(DatasetConfig(path=str(tmp_path / "d")), Workspace(tmp_path))
    with pytest.raises(DatasetError, match=r"no images in .*, but 2 HEIC; name"):
        find_inputs([str(tmp_path / "d")], CsvConfig())


def test_a_program_with_an_images_name_stops_the_start_by_name(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"a": 3, "b": 3})
    (tmp_path / "d/a/x.jpg").write_bytes(PROGRAM)
    (tmp_path / "space.yaml").write_text(
        "study: s\ndataset: {path: d}\nsearch: {backbone: test_resnet, image_size: 8}\n"
    )
    answer = ask("run", "space.yaml")
    assert answer.code == 3
    assert "a/x.jpg: not an image in a known format but EPS (PostScript), which is never opened" in answer.err


def test_data_check_counts_the_files_that_are_no_images(ask: Ask, tmp_path: Path) -> None:
    write_zoo(tmp_path / "d")
    answer = ask("data", "check", "d")
    assert "files left out" in answer.out
    assert "2 .xml" in answer.out


def test_a_list_of_predictions_has_every_image_of_a_folder_whatever_its_suffix(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"d": 1})
    for number, suffix in enumerate(("jfif", "jpe", "JPG")):
        (tmp_path / "d" / f"{number}.{suffix}").write_bytes(encoded(picture(number), "JPEG"))
    (tmp_path / "list.csv").write_text("Image\nd/0.jfif\nd/1.jpe\n")
    named = find_inputs([str(tmp_path / "list.csv")], CsvConfig()).images
    assert [image.reason for image in named] == ["", ""]
    assert len(find_inputs([str(tmp_path / "d")], CsvConfig()).images) == 4

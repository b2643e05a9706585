"""Data sets at an address: fetched whole, once, and again when they change."""

from __future__ import annotations

import base64
import errno
import io
import tarfile
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sweeper.config.dataset import DatasetConfig
from sweeper.data import fetch
from sweeper.data.fetch import fetched, is_address, refresh, refuse_secrets
from sweeper.data.index import read_listing
from sweeper.errors import ConfigError, DatasetError, DiskError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders

COUNTS = {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_class_folders(tmp_path / "photos", COUNTS)
    return tmp_path / "photos"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def packed(photos: Path, name: str) -> Path:
    path = photos.parent / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for file in photos.rglob("*.png"):
                archive.write(file, file.relative_to(photos.parent))
    else:
        with tarfile.open(path, "w:gz" if name.lower().endswith("gz") else "w") as tar:
            tar.add(photos, "photos")
    return path


def paths_of(address: str, workspace: Workspace) -> list[str]:
    return list(read_listing(DatasetConfig(path=address), workspace).paths)


@pytest.mark.parametrize("name", ["photos.tar", "photos.tar.gz", "photos.zip", "PHOTOS.TAR", "photos.TGZ"])
def test_an_archive_is_read_as_the_folder_in_it(photos: Path, workspace: Workspace, name: str) -> None:
    assert paths_of(f"file://{packed(photos, name)}", workspace) == paths_of(str(photos), workspace)


@pytest.mark.parametrize("beside", ["__MACOSX/photos/._a.png", ".DS_Store"])
def test_an_archive_made_on_a_mac_or_with_dots_in_its_names_is_read_whole(
    photos: Path, workspace: Workspace, beside: str
) -> None:
    next((photos / "train/a").iterdir()).rename(photos / "train/a/IMG_4..png")
    (photos / "train/b").rename(photos / "train/b...")
    (photos / "val/b").rename(photos / "val/b...")
    path = packed(photos, "PHOTOS.zip").rename(photos.parent / "PHOTOS.ZIP")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(beside, b"of a system")
    assert paths_of(f"file://{path}", workspace) == paths_of(str(photos), workspace)


def test_a_fetch_that_fails_leaves_what_was_fetched_before(photos: Path, workspace: Workspace) -> None:
    path = packed(photos, "photos.zip")
    address = f"file://{path}"
    before = paths_of(address, workspace)
    path.write_bytes(b"PK, and no archive")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        refresh(address, workspace)
    assert paths_of(address, workspace) == before


def test_a_folder_at_an_address_is_read_as_one_here(photos: Path, workspace: Workspace) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/bucket/photos", recursive=True)
    assert paths_of("memory://bucket/photos", workspace) == paths_of(str(photos), workspace)


def test_what_was_fetched_is_kept_until_it_changes_there(photos: Path, workspace: Workspace) -> None:
    address = f"file://{photos}"
    made = fetched(address, workspace).stat().st_ino
    refresh(address, workspace)
    assert fetched(address, workspace).stat().st_ino == made
    gone = next((photos / "train/a").iterdir())
    gone.unlink()
    refresh(address, workspace)
    assert not (fetched(address, workspace) / gone.relative_to(photos)).exists()


def test_an_archive_that_leads_out_of_its_folder_is_refused_and_leaves_nothing(
    photos: Path, workspace: Workspace
) -> None:
    path = photos.parent / "evil.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("../../outside.png")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(DatasetError, match=r"evil\.tar has been fetched and cannot be unpacked"):
        fetched(f"file://{path}", workspace)
    assert not list(workspace.root.rglob("*.png"))
    assert not list(workspace.root.rglob("fetching-*"))


def test_an_address_with_nothing_at_it_is_one_clear_line(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"file:///.*/nothing: cannot be fetched .*correct dataset\.path") as caught:
        fetched(f"file://{tmp_path}/nothing", workspace)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["s3://a/b", "gs://a", "https://a/b.tar"])
def test_an_address_begins_with_the_name_of_its_file_system(name: str) -> None:
    assert is_address(name)


@pytest.mark.parametrize("name", ["photos", "/a/b", "C:/a", "a:b"])
def test_a_path_of_this_machine_is_not_an_address(name: str) -> None:
    assert not is_address(name)


@pytest.mark.parametrize("archive", [True, False])
def test_how_much_has_come_is_told(photos: Path, workspace: Workspace, archive: bool) -> None:
    memory, told = fsspec.filesystem("memory"), list[tuple[str, int, int]]()
    if archive:
        (photos / "large.bin").write_bytes(bytes(3_500_000))
        memory.put(str(packed(photos, "photos.tar")), "/told/photos.tar")
    else:
        memory.put(str(photos), "/told/photos", recursive=True)
    refresh(f"memory://told/{'photos.tar' if archive else 'photos'}", workspace, lambda *at: told.append(at))
    whole = 3 if archive else 10 + len(["photos", "train", "val", "a", "b", "a", "b"])
    assert told[-1] == (f"fetching the images, {'megabytes' if archive else 'files and folders'}", whole, whole)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


@pytest.mark.parametrize(
    "address",
    ["http://ann:hidden@host/photos.zip", "https://host/photos.zip?X-Amz-Signature=hidden", "s3://key:hidden@bucket/x"],
)
def test_an_address_with_a_secret_is_refused_since_it_would_be_stored(address: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.path.*~/\.netrc") as refused:
        refuse_secrets(address)
    assert "hidden" not in str(refused.value)


def test_a_password_for_a_web_server_comes_from_netrc(
    photos: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    class Locked(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(photos.parent))

        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            if asked[-1] is None:
                self.send_error(401)
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None: ...

    packed(photos, "photos.zip")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password word\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = paths_of(f"http://127.0.0.1:{server.server_address[1]}/photos.zip?download=1", workspace)
        server.shutdown()
    assert found == paths_of(str(photos), workspace)
    assert set(asked) == {"Basic " + base64.b64encode(b"ann:word").decode()}


def test_what_changes_at_an_address_of_the_web_is_fetched_again(photos: Path, workspace: Workspace) -> None:
    class Server(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(photos.parent))

        def log_message(self, *_: object) -> None: ...

    packed(photos, "photos.zip")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/photos.zip"
        before = paths_of(address, workspace)
        made = fetched(address, workspace).stat().st_ino
        refresh(address, workspace)
        assert fetched(address, workspace).stat().st_ino == made
        next((photos / "train/a").iterdir()).unlink()
        packed(photos, "photos.zip")
        refresh(address, workspace)
        server.shutdown()
    assert len(paths_of(address, workspace)) == len(before) - 1


@pytest.mark.parametrize("name", ["photos/", "download?file=photos.zip", ""])
def test_a_page_of_the_web_is_no_data_set(workspace: Workspace, name: str) -> None:
    with pytest.raises(DatasetError, match=r"on the web a data set is one file, an archive \(.tar, "):
        refresh(f"https://127.0.0.1:1/{name}", workspace)


@pytest.mark.parametrize(
    ("name", "begin"), [("photos.zip", True), ("photos.tar", True), ("photos.tar.gz", True), ("photos.tar.gz", False)]
)
def test_a_damaged_archive_is_called_so(photos: Path, workspace: Workspace, name: str, *, begin: bool) -> None:
    path = packed(photos, name)
    whole = path.read_bytes()
    path.write_bytes(b"<html>" * 200 if begin else whole[:600] + bytes(64) + whole[664:])
    with pytest.raises(DatasetError, match=f"{name} has been fetched and cannot be unpacked.*put a whole"):
        fetched(f"file://{path}", workspace)


def test_a_full_disk_is_not_called_a_wrong_address(
    photos: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_replace", full)
    with pytest.raises(DiskError, match="there is no room for it here"):
        fetched(f"file://{photos}", workspace)

"""Data sets at an address such as `s3://bucket/photos.tar`: fetched once, and again when what is there changes."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import json
import lzma
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeper.credentials import hide_credentials
from sweeper.data.progress import Tell
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, DatasetError, DiskError, Problem, SweeperError
from sweeper.files import file_lock, put_in_place, sync_all, write_whole
from sweeper.paths import FetchedFolder, Workspace
from sweeper.safeguards.extras import how_to_install

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
WEB = ("http://", "https://")
ARCHIVES = {
    ".tar": "tar",
    ".tar.gz": "gztar",
    ".tgz": "gztar",
    ".tar.xz": "xztar",
    ".tar.bz2": "bztar",
    ".zip": "zip",
}
"""The ends of archives' names, each with what `shutil` calls its format."""
OF_STORES = (
    "size",
    "ETag",
    "etag",
    "md5Hash",
    "checksum",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)
SIGNS = (*OF_STORES, "Last-Modified", "Content-MD5", "Digest")
"""What file systems say of a file that changes with its content."""
OF_ARCHIVES = (
    shutil.ReadError,
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
)
"""What unpacking an archive raises that is not whole, has a password, or is packed in a way that is not read."""
STREAMS: Mapping[str, Any] = {"gztar": gzip.open, "xztar": lzma.open, "bztar": bz2.open}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

MEGABYTE = 1_000_000


def is_address(name: str) -> bool:
    """Return whether a data set's path is an address and not a path of this machine."""
    return ADDRESS.match(name) is not None


def name_at(address: str) -> str:
    """Return the name of the file or folder at an address, of the web without what is asked of it (`?download=1`)."""
    path = address.partition("?")[0] if address.lower().startswith(WEB) else address
    return path.rstrip("/").rpartition("/")[2]


def refuse_secrets(address: str, key: str = "dataset.path", instead: str = "fetch the data yourself and name") -> None:
    """Raise ConfigError for an address with a password or a signature: it is stored with the study and its runs."""
    shown = hide_credentials(address)
    if shown != address:
        rule = (
            "should hold no password and no signature, since it is stored with the study and its runs: put a password "
            f"into ~/.netrc or into the variables that the file system reads (AWS_ACCESS_KEY_ID), or {instead} the "
            f"folder, got {shown}"
        )
        raise ConfigError([Problem(IN_SEARCH_SPACE, key, rule)])


def fetched(address: str, workspace: Workspace) -> Path:
    """Return where the data of an address lies here, fetching it where it does not. Raises DatasetError, DiskError."""
    folder = workspace.fetched(_key(address))
    if not folder.signs.exists():
        refresh(address, workspace)
    return folder.images


def refresh(address: str, workspace: Workspace, tell: Tell | None = None) -> None:
    """Fetch the data of an address unless what lies here is what lies there. Raises DatasetError, DiskError.

    `tell` takes what is fetched, files or megabytes, how much has come and how much there is.
    """
    folder = workspace.fetched(_key(address))
    _refuse_a_page(address)
    with file_lock(folder.lock, blocking=True), _told(address):
        files, path = _opened(address)
        signs = _signs(files, path)
        if folder.signs.exists() and json.loads(folder.signs.read_text()) == signs:
            return
        _replace(folder, files, path, tell)
        write_whole(folder.signs, json.dumps(signs))


def _refuse_a_page(address: str) -> None:
    """Raise DatasetError for an address of the web that names no file of a data set: a folder there is a page."""
    name = name_at(address).lower()
    if address.lower().startswith(WEB) and not name.endswith((*ARCHIVES, ".csv")):
        raise DatasetError(
            f"{hide_credentials(address)}: on the web a data set is one file, an archive ({', '.join(ARCHIVES)}) or a "
            ".csv file; a folder of images can be at s3:// or gs://. Name such a file, or fetch the images and name "
            "their folder"
        )


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _opened(address: str) -> tuple[Any, str]:
    import fsspec

    web = {"client_kwargs": {"trust_env": True}} if address.lower().startswith(WEB) else {}
    files, path = fsspec.core.url_to_fs(address, **web)  # with what ~/.netrc says
    return files, path.rstrip("/")


def _signs(files: Any, path: str) -> list[list[str]]:
    """Return what tells one state of the files at a place from another: of each its name and what is said of it."""
    found = files.find(path, detail=True)
    if not found:
        raise FileNotFoundError("there is no file")
    return [[name, *(_said(found[name]) or _said(files.info(name)))] for name in sorted(found)]


def _said(info: Mapping[str, Any]) -> list[str]:
    return [str(info[sign]) for sign in SIGNS if info.get(sign) is not None]


def _replace(folder: FetchedFolder, files: Any, path: str, tell: Tell | None) -> None:
    """Fetch everything beside what there is, and then take its place."""
    with tempfile.TemporaryDirectory(dir=folder.lock.parent, prefix="fetching-") as name:
        into = Path(name) / "content"
        if files.isfile(path):
            into.mkdir()
            file = into / name_at(path)
            files.get_file(path, str(file), callback=_telling(tell, "fetching the images, megabytes", MEGABYTE))
            if kind := next((ARCHIVES[end] for end in ARCHIVES if file.name.lower().endswith(end)), None):
                _unpack(file, kind, into)
        else:
            files.get(
                path, str(into), recursive=True, callback=_telling(tell, "fetching the images, files and folders", 1)
            )
        sync_all()
        folder.signs.unlink(missing_ok=True)
        shutil.rmtree(folder.content, ignore_errors=True)
        folder.content.parent.mkdir(parents=True, exist_ok=True)
        put_in_place(into, folder.content)


def _telling(tell: Tell | None, what: str, unit: int) -> Any:
    """Return what a file system calls as data arrive, with the size of all and of what is here; it may not know all."""
    from fsspec.callbacks import Callback

    def told(size: int | None, here: int, **_: Any) -> None:
        if tell is not None and size:
            tell(what, min(here, size) // unit, max(1, size // unit))

    return Callback(hooks={"tell": told})


def _unpack(archive: Path, kind: str, into: Path) -> None:
    """Unpack an archive, which may be a stranger's: nothing leads out of the folder. Raises DatasetError."""
    try:
        _require_whole(archive, kind)
        if kind == "zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(into)  # noqa: S202  # zipfile leaves out what leads out of the folder
        else:
            shutil.unpack_archive(archive, into, kind, filter="data")
    except (*OF_ARCHIVES, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of this disk
            raise
        raise DatasetError(
            f"{archive.name} has been fetched and cannot be unpacked ({type(error).__name__}: {error}); put a whole "
            "archive there, without a password"
        ) from error
    archive.unlink()


def _require_whole(archive: Path, kind: str) -> None:
    """Read a packed stream to its end, with its check sums: tarfile stops in silence where it finds nothing to read."""
    if kind in STREAMS:
        with STREAMS[kind](archive) as stream:
            while stream.read(MEGABYTE):
                pass


@contextmanager
def _told(address: str) -> Iterator[None]:
    try:
        yield
    except SweeperError:
        raise
    except ImportError as error:
        raise DatasetError(
            f"{hide_credentials(address)}: {error}. For s3://: {how_to_install('s3')}; dataset.path may "
            "also be a folder"
        ) from error
    except Exception as error:  # of any of the file systems that there are
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise DiskError(
                f"{hide_credentials(address)}: there is no room for it here ({error.strerror}); free some space, then "
                "run the same command again"
            ) from error
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(
            f"{hide_credentials(address)}: cannot be fetched ({type(error).__name__}: {hide_credentials(said)}); "
            "correct dataset.path, or the credentials that its file system reads"
        ) from error

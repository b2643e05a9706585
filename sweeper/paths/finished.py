"""The files that users keep: an export, an evaluation, images sorted by class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sweeper.errors import ExportError

LONGEST_FOLDER = 200  # bytes of a folder's name; file systems allow 255


@dataclass(frozen=True)
class ExportFolder:
    """Where each part of an export lies."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def onnx(self) -> Path:
        return self.path / "model.onnx"

    def variant(self, kind: str) -> Path:
        """The network in smaller numbers, `fp16` or `int8`."""
        return self.path / f"model.{kind}.onnx"

    @property
    def program(self) -> Path:
        """A torch.export program."""
        return self.path / "model.pt2"

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def label_program(self) -> Path:
        """Labels images without this package."""
        return self.path / "label.py"

    @property
    def picture(self) -> Path:
        """The folder of the programs that prepare an image."""
        return self.path / "picture"

    @property
    def verification(self) -> Path:
        return self.path / "verification.json"

    @property
    def model_files(self) -> Path:
        """Copies of the files that define architectures of the user's own."""
        return self.path / "model_files"

    def inside(self, name: str) -> Path:
        """Return a file by its name. Raises ExportError where it leads elsewhere: an export may be a stranger's."""
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise ExportError(f"{self.config} names the file {name!r} outside the export; export again")
        return path

    def files(self) -> tuple[str, ...]:
        """Return the names of all files in the folder, with / between their parts."""
        found = (path for path in self.path.rglob("*") if not path.is_dir())
        return tuple(sorted(path.relative_to(self.path).as_posix() for path in found))


@dataclass(frozen=True)
class EvaluationFolder:
    """What `sweeper evaluate` writes about one split."""

    path: Path

    @property
    def confusion(self) -> Path:
        return self.path / "confusion.csv"

    @property
    def picture(self) -> Path:
        return self.path / "confusion.png"

    @property
    def classes(self) -> Path:
        """Precision, recall and F1 of every class."""
        return self.path / "classes.csv"

    @property
    def reconstructions(self) -> Path:
        """Some images above what an autoencoder makes of them."""
        return self.path / "reconstructions.png"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"


def folder_of_class(name: str) -> str:
    """Return a folder's name for a class: letters, digits and a few signs as they are, all else as %XX.

    Different classes give different names, and none of them is empty, hidden or leads anywhere.
    """
    kept = "".join(c if c.isalnum() or c in " -_,()+@&'." else quote(c, safe="", errors="surrogatepass") for c in name)
    if not kept or kept[0] in ". " or kept[-1] in ". ":
        kept = "%" + kept.replace(".", "%2E").replace(" ", "%20")
    if len(kept.encode(errors="surrogatepass")) > LONGEST_FOLDER:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        kept = f"{kept.encode()[: LONGEST_FOLDER - 20].decode(errors='ignore')}%{digest}"
    return kept

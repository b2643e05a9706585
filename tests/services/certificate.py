"""A certificate for 127.0.0.1, made for one run of the tests by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost\n"


@dataclass(frozen=True)
class Certificate:
    """It signs itself, so that it is its own authority."""

    certificate: Path
    key: Path

    @classmethod
    def made(cls, folder: Path, days: int = 2) -> Certificate:
        """Make one that is valid for some days; it has expired where `days` is negative."""
        folder.mkdir()
        made = cls(folder / "certificate.pem", folder / "key.pem")
        request, names = folder / "request.pem", folder / "names.txt"
        names.write_text(NAMES)
        new = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", made.key, "-out", request]
        _openssl("req", "-new", *new)
        sign = ["-in", request, "-signkey", made.key, "-days", str(days), "-extfile", names, "-out", made.certificate]
        _openssl("x509", "-req", *sign)
        return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

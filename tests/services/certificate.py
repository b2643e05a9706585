"""Certificates for 127.0.0.1, made for one run of the tests by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost\n"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Who signs them, and whom clients believe."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self._folder = folder
        self.certificate, self._key = folder / "authority.pem", folder / "authority.key"
        new = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority", "-keyout", str(self._key)]
        _openssl("req", "-x509", *new, "-out", str(self.certificate))

    def certify(self, name: str, days: int = 2) -> Certificate:
        """Make a certificate that is valid for some days; it has expired where `days` is negative."""
        folder = self._folder / name
        folder.mkdir()
        made = Certificate(folder / "certificate.pem", folder / "key.pem")
        request, names = folder / "request.pem", folder / "names.txt"
        names.write_text(NAMES)
        new = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", str(made.key)]
        _openssl("req", "-new", *new, "-out", str(request))
        signer = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial"]
        sign = ["-in", str(request), *signer, "-days", str(days), "-extfile", str(names)]
        _openssl("x509", "-req", *sign, "-out", str(made.certificate))
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)

"""A real PostgreSQL on this machine, with its data in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tracking.server import free_port

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("postgres") or "/").parent]
ACCOUNT = "postgres"  # the server refuses to be run by root


def is_installed() -> bool:
    return (BINARIES[-1] / "postgres").exists()


class Cluster:
    """A server of its own on 127.0.0.1; it trusts everybody, unless it is given a password."""

    def __init__(self, root: Path, password: str | None = None):
        self.root = root
        self.port = free_port()
        self.settings: dict[str, str] = {}
        self._as_account("initdb", "-D", str(root / "data"), "-U", ACCOUNT, "--no-sync", *self._log_in(password))
        self.start()

    def _log_in(self, password: str | None) -> list[str]:
        if password is None:
            return ["--auth=trust"]
        file = self.root / "password"
        file.write_text(password)
        return ["--auth=scram-sha-256", f"--pwfile={file}"]

    def start(self) -> None:
        own = {"listen_addresses": "127.0.0.1", **self.settings}
        options = " ".join(f"-c {name}={value}" for name, value in own.items()) + f" -p {self.port} -k {self.root}"
        log = str(self.root / "log.txt")
        self._as_account("pg_ctl", "-D", str(self.root / "data"), "-o", options, "-l", log, "-w", "start")

    def stop(self, how: str = "immediate") -> None:
        self._as_account("pg_ctl", "-D", str(self.root / "data"), "-m", how, "-w", "stop")

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on, with a certificate that is copied to where the server may read it."""
        for name, file in (("ssl_cert_file", certificate), ("ssl_key_file", key)):
            copy = self.root / f"{name}.pem"
            shutil.copy(file, copy)
            copy.chmod(0o600)
            give_to_account(copy)
            self.settings[name] = str(copy)
        self.settings["ssl"] = "on"
        self.stop("fast")
        self.start()

    @property
    def url(self) -> str:
        return self.url_of(ACCOUNT, "postgres")

    def url_of(self, user: str, database: str, password: str | None = None) -> str:
        log_in = user if password is None else f"{user}:{password}"
        return f"postgresql+psycopg://{log_in}@127.0.0.1:{self.port}/{database}"

    def _as_account(self, program: str, *arguments: str) -> None:
        identity: dict[str, Any] = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.getuid() == 0 else {}
        with (self.root / "setup.txt").open("ab") as output:
            subprocess.run(
                [str(BINARIES[-1] / program), *arguments],
                cwd=self.root,
                check=True,
                stdout=output,
                stderr=output,
                **identity,
            )


def give_to_account(path: Path) -> None:
    if os.getuid() == 0:
        shutil.chown(path, ACCOUNT, ACCOUNT)


@contextmanager
def postgres(password: str | None = None) -> Iterator[Cluster]:
    """Start a server, and stop it and remove its data in the end."""
    root = Path(tempfile.mkdtemp(prefix="sweeper-postgres-"))
    give_to_account(root)
    try:
        cluster = Cluster(root, password)
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(root)

"""A real `mlflow server` on this machine, with SQLite and artifacts of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 180.0
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class MlflowServer:
    """Started, killed and started again on the same port and the same store."""

    def __init__(self, root: Path):
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.root / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *where, *self.options()],
                cwd=self.root,
                env={**os.environ, **SETTINGS, **self.environment()},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._healthy():
            assert self._process.poll() is None, (self.root / "server.txt").read_text()
            assert time.monotonic() < deadline, (self.root / "server.txt").read_text()
            time.sleep(0.1)

    def options(self) -> list[str]:
        """Return where the server keeps records and files, as options of `mlflow server`."""
        store = ["--backend-store-uri", f"sqlite:///{self.root / 'server.db'}"]
        return [*store, "--artifacts-destination", (self.root / "artifacts").as_uri(), "--serve-artifacts"]

    def environment(self) -> dict[str, str]:
        """Return what the server is told by environment variables."""
        return {}

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trust(self) -> ssl.SSLContext | None:
        """Return whose certificates are believed when the server is asked whether it is there."""
        return None

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5, context=self.trust()) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def mlflow_server(root: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(root)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Telling somebody how a study has ended, by a command or a webhook, whatever becomes of it."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

from sweeper.config.frozen import Frozen
from sweeper.config.notify import NotifyConfig

PATIENCE_S = 10.0
TEXT = "SWEEPER_TEXT"
"""The environment variable in which a command finds the line, too."""

LONGEST_REASON = 200  # characters of what a command or a server says


class Notice(Frozen):
    """How a study has ended; a field may be added, none changes its meaning without another `format`."""

    format: int = 1
    study: str
    state: Literal["finished", "stopped", "interrupted", "failed"]
    text: str
    reason: str | None
    trials: Mapping[str, int]
    best: Mapping[str, Any] | None
    folder: str
    host: str = socket.gethostname()


def send(notice: Notice, to: NotifyConfig, patience_s: float = PATIENCE_S) -> str | None:
    """Tell it, and return why that failed; None where it has worked, or nobody is to be told. Raises nothing."""
    if to.command:
        return _run(to.command, notice, patience_s)
    if to.webhook:
        return _post(to.webhook, notice, patience_s)
    return None


def _run(command: str, notice: Notice, patience_s: float) -> str | None:
    """Run a command in a session of its own, so that all of it can be ended."""
    words = [*shlex.split(command), notice.text]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, TEXT: notice.text},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"`{words[0]}` cannot be run: {getattr(error, 'strerror', None) or error}"
        try:
            process.communicate(notice.model_dump_json().encode(), timeout=patience_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return f"`{words[0]}` took more than {patience_s:g} s and was ended"
        said.seek(0)
        last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    code = process.returncode
    return f"`{words[0]}` ended with exit code {code}{f': {last[:LONGEST_REASON]}' if last else ''}" if code else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command, and where its system knows groups of processes, all that it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _post(address: str, notice: Notice, patience_s: float) -> str | None:
    """Post JSON. The wait is bounded as a whole, also where a server sends one byte now and then."""
    failed: list[str | None] = []
    waiting = threading.Thread(target=lambda: failed.append(_posted(address, notice, patience_s)), daemon=True)
    waiting.start()
    waiting.join(patience_s)
    return failed[0] if failed else _late(address, patience_s)


def _posted(address: str, notice: Notice, patience_s: float) -> str | None:
    content = json.dumps(notice.model_dump(mode="json")).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "sweeper"}
    asked = urllib.request.Request(address, content, headers, method="POST")  # noqa: S310  # NotifyConfig took http(s)
    try:
        urllib.request.urlopen(asked, timeout=patience_s).close()  # noqa: S310
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            return _late(address, patience_s)
        code = getattr(error, "code", None)
        return f"{_shown(address)} {f'answered with status {code}' if code else f'cannot be reached: {_kind(error)}'}"
    return None


def _late(address: str, patience_s: float) -> str:
    return f"{_shown(address)} has not answered in {patience_s:g} s"


def _shown(address: str) -> str:
    """Return of an address what is no secret; in many the path is one."""
    return f"the webhook at {urlsplit(address).hostname}"


def _kind(error: BaseException) -> str:
    """Return what went wrong without the address, which a message of a library may repeat."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        return reason.strerror or type(reason).__name__
    return type(error).__name__

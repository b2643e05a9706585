"""A notice reaches a real command and a real server, and whatever these do, nothing is raised and nothing hangs."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sweeper.config.notify import NotifyConfig
from sweeper.study.notice import Notice, _posted, send

SECRET = "T000-sesame"  # noqa: S105
NOTICE = Notice(
    study="s",
    state="finished",
    text="study s finished: 3 complete; it's done",
    reason=None,
    trials={"complete": 3},
    best={"trial": 1, "metric": "val/accuracy", "value": 0.5},
    folder="/here",
)


class Server(ThreadingHTTPServer):
    """Keeps what is posted; answers with `status`, or, where that is 0, only when it is released."""

    daemon_threads = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[bytes] = []
        self.released = threading.Event()

    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/{SECRET}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        if not self.server.status:
            self.server.released.wait(30)
            return
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def python(program: str) -> NotifyConfig:
    return NotifyConfig(command=shlex.join([sys.executable, "-c", program]))


def test_a_command_gets_the_line_twice_and_the_json_on_its_input(tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    got = "[sys.argv[1], os.environ['SWEEPER_TEXT'], sys.stdin.read()]"
    program = f"import json, os, sys; json.dump({got}, open({str(out)!r}, 'w'))"
    assert send(NOTICE, python(program)) is None
    argument, variable, content = json.loads(out.read_text())
    assert argument == variable == NOTICE.text
    assert json.loads(content) == json.loads(NOTICE.model_dump_json())


def test_a_webhook_gets_the_json(server: Server) -> None:
    assert send(NOTICE, NotifyConfig(webhook=server.address())) is None
    [content] = server.got
    assert json.loads(content)["text"] == NOTICE.text
    assert json.loads(content)["best"] == {"trial": 1, "metric": "val/accuracy", "value": 0.5}


def test_without_either_nobody_is_told() -> None:
    assert send(NOTICE, NotifyConfig()) is None


def test_a_command_that_fails_or_is_not_there_is_told_in_words() -> None:
    failed = send(NOTICE, python("import sys; sys.exit('no screen')"))
    assert failed is not None
    assert failed.endswith("ended with exit code 1: no screen")
    missing = send(NOTICE, NotifyConfig(command="no-such-program --loud"))
    assert missing == "`no-such-program` cannot be run: No such file or directory"


def test_a_command_that_hangs_is_ended_with_all_that_it_started() -> None:
    started = time.monotonic()
    sleeps = "import time; time.sleep(60)"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeps!r}]); {sleeps}"
    failed = send(NOTICE, python(program), patience_s=1)
    assert failed is not None
    assert failed.endswith("took more than 1 s and was ended")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("status", "told"), [(500, "answered with status 500"), (404, "answered with status 404")])
def test_a_server_that_refuses_is_told_without_the_secret_of_its_address(
    server: Server, status: int, told: str
) -> None:
    server.status = status
    assert send(NOTICE, NotifyConfig(webhook=server.address())) == f"the webhook at 127.0.0.1 {told}"


def test_a_server_that_hangs_or_is_away_costs_no_more_than_the_patience(server: Server) -> None:
    server.status = 0
    assert send(NOTICE, NotifyConfig(webhook=server.address()), patience_s=0.5) == (
        "the webhook at 127.0.0.1 has not answered in 0.5 s"
    )
    # Of the wait as a whole and that for one answer, either may end first; both are told alike.
    assert _posted(server.address(), NOTICE, 0.5) == "the webhook at 127.0.0.1 has not answered in 0.5 s"
    away = send(NOTICE, NotifyConfig(webhook=f"http://127.0.0.1:9/{SECRET}"))
    assert away == "the webhook at 127.0.0.1 cannot be reached: Connection refused"

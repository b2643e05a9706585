"""An HTTP proxy before a real MLflow server that can refuse, hang, fail, lose answers or be slow."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_S = 0.05
LATE_S = 2.0
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive", "server", "date"}


class FaultProxy:
    """Forwards to a port of this machine; `fault` says what goes wrong from now on.

    None: nothing. `refuse`: the connection is closed. `hang`: no answer until the fault changes.
    `500`: an error, and the request does not arrive. `lost`: it arrives, and the answer is an error.
    `slow`: the answer takes a while. `late files`: that to a file takes a long while.
    `login`: a file does not arrive, and a page to log in is the answer.
    """

    def __init__(self, target: int):
        self.target = target
        self.fault: str | None = None
        self.requests = 0
        self.share = 1.0  # of the requests, drawn at random; a fixed rhythm may hit every repetition
        self._dice = random.Random(0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fault_of_next(self) -> str | None:
        self.requests += 1
        return self.fault if self._dice.random() < self.share else None

    def close(self) -> None:
        self.fault = "refuse"
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def proxied(target: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault_of_next()
            while fault == "hang" and proxy.fault == "hang":
                time.sleep(0.02)
            if fault == "refuse" or fault == "hang":
                self.close_connection = True
                return
            if fault == "slow":
                time.sleep(SLOW_S)
            if fault == "late files" and self.command == "PUT":
                time.sleep(LATE_S)
            if fault == "login" and self.command == "PUT":
                self._send(200, b"<html>Who are you?</html>", [])
                return
            if fault == "500":
                self._send(500, b"out of order", [])
                return
            try:
                status, headers, content = self._forward(body)
            except OSError:  # the server is gone, or this test is over
                self.close_connection = True
                return
            self._send(*((500, b"lost", []) if fault == "lost" else (status, content, headers)))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _send(self, status: int, content: bytes, headers: list[tuple[str, str]]) -> None:
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for key, value in headers:
                    if key.lower() not in HOP_BY_HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler

"""Whether the model hub answers: by its address, behind a proxy, and where none is to be asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sweeper.modeling.hub import hub_answers


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_takes_a_connection_answers(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", listening)
    assert hub_answers()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_answers()


def test_one_that_is_gone_does_not_unless_a_proxy_is_in_between(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert not hub_answers()
    monkeypatch.setenv("http_proxy", listening)
    assert hub_answers()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not hub_answers()

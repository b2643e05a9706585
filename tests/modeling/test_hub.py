"""Whether the model hub answers: by its address, behind a proxy, and where none is to be asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.modeling import hub_weights
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


@pytest.mark.parametrize(
    ("held", "absent"),
    [
        ({}, ["cspnext_tiny", "resnet50"]),
        ({"munehiro-k/cspnext_tiny.in1k": 1, "timm/resnet50.tv_in1k": 1}, ["resnet50"]),  # timm takes another tag
        ({"munehiro-k/cspnext_tiny.in1k": 1, "timm/resnet50.a1_in1k": 1}, []),
    ],
)
def test_weights_are_here_under_the_name_that_timm_gives_them_whoever_owns_them(
    held: dict[str, int], absent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = {"cspnext_tiny": "munehiro-k/cspnext_tiny.in1k", "resnet50": "resnet50.a1_in1k"}
    monkeypatch.setattr(hub_weights, "hub_name", owned.get)
    monkeypatch.setattr("sweeper.modeling.hub._repositories", lambda: held)
    monkeypatch.setattr(hub_weights, "hub_answers", lambda: False)
    search = {"backbone": {"choice": list(owned)}, "pretrained": True}
    space = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": search})
    assert hub_weights.backbones_out_of_reach(space.model_dump_json(by_alias=True)) == absent

"""Reaching the head of a Ray cluster."""

from __future__ import annotations

import time

import pytest

from sweeper.engines.cluster.head import connect
from sweeper.errors import StudyError


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
def test_a_cluster_that_is_gone_is_told_at_once_also_where_ray_still_knows_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # as the file that Ray leaves says
    begun = time.monotonic()
    with pytest.raises(StudyError, match="no Ray cluster at the address"):
        connect(address)
    assert time.monotonic() - begun < 30  # Ray itself tries for minutes

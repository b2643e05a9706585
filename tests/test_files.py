"""Files that appear whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sweeper.errors import DiskError
from sweeper.files import sealed_file, whole_file

ROOM = 700_000  # bytes


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond ROOM; for who writes that is a disk which is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("writing", [whole_file, sealed_file])
def test_a_full_disk_is_named_also_where_compiled_code_writes(tmp_path: Path, full_disk: None, writing) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(DiskError, match=r"checkpoint\.pt cannot be written: File too large"), writing(path) as file:
        torch.save([torch.zeros(ROOM // 7) for _ in range(10)], file)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []

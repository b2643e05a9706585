"""The file that says which images each epoch has right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import StudyError
from sweeper.scores.predictions import image_ids
from sweeper.scores.right import as_bits, read_right, write_right


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(images=st.integers(1, 40), epochs=st.integers(1, 4), seed=st.integers(0, 99))
def test_what_was_written_is_read_again(tmp_path: Path, images: int, epochs: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 3, images)
    predicted = dice.integers(0, 3, (epochs, images))
    names = image_ids(map(str, range(images)))
    write_right(tmp_path / "right.npz", names, [as_bits(one, labels) for one in predicted])
    found, right = read_right(tmp_path / "right.npz")
    assert np.array_equal(found, names)
    assert np.array_equal(right, predicted == labels)


def test_a_file_that_is_damaged_or_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "right.npz"
    write_right(file, image_ids("abc"), [as_bits(np.arange(3), np.arange(3))])
    whole = file.read_bytes()
    for content in (b"", whole[:-30], b"nothing"):
        file.write_bytes(content)
        with pytest.raises(StudyError, match="does not say which images are right"):
            read_right(file)

"""What doctor says of cards that torch does not use."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.upkeep.machine_check import unused_cards
from sweeper.upkeep.nvidia import NvidiaCards, nvidia_cards


@pytest.mark.parametrize(
    ("cards", "torch_cuda", "what", "remedy"),
    [
        (
            NvidiaCards(1, ("NVIDIA T4",), 13000),
            None,
            "NVIDIA T4, and this torch is a build for the CPU",
            "pip install",
        ),
        (NvidiaCards(1, ("NVIDIA T4",), 12040), "13.0", "CUDA up to 12.4, while this torch needs CUDA 13.0", "update"),
        (NvidiaCards(2), "13.0", "2 NVIDIA cards, and their driver does not answer", "install NVIDIA's driver"),
        (NvidiaCards(1, ("NVIDIA T4",), 13000), "13.0", "torch cannot use them", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_card_that_torch_does_not_use_is_named_with_the_reason(
    cards: NvidiaCards, torch_cuda: str | None, what: str, remedy: str
) -> None:
    said, advice = unused_cards(cards, torch_cuda)
    assert what in said
    assert remedy in advice


def test_cards_without_a_driver_are_found_on_the_bus(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0", "0x10de", "0x030200"),
        ("1", "0x10de", "0x040300"),
        ("2", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "3").mkdir()
    assert nvidia_cards(tmp_path) == NvidiaCards(1)
    assert nvidia_cards(tmp_path / "none") == NvidiaCards(0)

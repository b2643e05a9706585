"""What doctor says of cards that torch does not use."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sweeper.errors import DeviceError
from sweeper.upkeep.machine_check import unused_cards
from sweeper.upkeep.nvidia import NvidiaCards, nvidia_cards, percent_busy
from sweeper.upkeep.torch_devices import may_have_a_card, torch_devices


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


def test_the_machine_is_examined_without_torch_in_this_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sweeper.upkeep.machine_check import examine_machine; "
        "from sweeper.paths import Workspace; "
        "examine_machine(Workspace(Path()), 'sqlite:///optuna.db', 'sqlite:///mlflow.db'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_torch_is_asked_in_a_process_of_its_own_and_reported_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_devices().cuda == torch.version.cuda
    monkeypatch.setattr("sweeper.upkeep.torch_devices.QUESTION", "import no_such_torch")
    with pytest.raises(DeviceError, match="torch cannot list its devices: ModuleNotFoundError: No module named"):
        torch_devices()


def test_torch_is_asked_only_where_linux_has_a_driver(tmp_path: Path) -> None:
    assert may_have_a_card([tmp_path])
    assert may_have_a_card([tmp_path / "none"]) == (sys.platform != "linux")


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


def test_how_busy_cards_are_is_asked_of_the_driver_and_nothing_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("pynvml", reason="NVIDIA's library is not for this system")
    monkeypatch.setattr(pynvml, "nvmlInit", partial(_raise, pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)))
    assert percent_busy() == ()
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)

    def rates(index: int) -> SimpleNamespace:
        if index == 1:  # parted into several
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=90 + index)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", rates)
    assert percent_busy() == (90.0, 92.0)


def _raise(error: Exception) -> None:
    raise error

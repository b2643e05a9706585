"""Exports of timm's architectures; slow, since tracing a network takes up to a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.hyperparameters import HeadConfig, TrialConfig
from sweeper.export.export import export_model
from tests.export.conftest import make_trial


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"])
def test_timm_architectures_export_and_reproduce_their_accuracy(tmp_path: Path, backbone: str) -> None:
    head = HeadConfig(hidden=(16,), norm="batch")
    source, val = make_trial(tmp_path, TrialConfig(backbone=backbone, image_size=64, batch_size=25, head=head))
    report = export_model(source, val, tmp_path / "export")
    assert report.verification.weights.off == 0
    assert [check.changed for check in report.verification.formats] == [0, 0]


@pytest.mark.slow
def test_images_stored_larger_than_the_network_takes_export_too(tmp_path: Path) -> None:
    config = TrialConfig(backbone="small_resnet", image_size=16, batch_size=25)
    source, val = make_trial(tmp_path, config, stored_size=24)
    report = export_model(source, val, tmp_path / "export")
    assert report.verification.weights.off == 0
    assert (report.config.stored_size, report.config.image_size) == (24, 16)

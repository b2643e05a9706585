"""The task of reconstruction: exact measures, a trial that learns, resumes exactly and shows what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.errors import ModelError
from sweeper.modeling.autoencoder import build_autoencoder
from sweeper.modeling.backbones import Backbone
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import check_names, load_model_files
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.training.conditions import Conditions
from sweeper.training.image_quality import mean_squared_error, psnr, ssim
from sweeper.training.reconstruction import grid
from sweeper.training.trainer import train
from tests.training.learnable import CPU, colored, spec_of

MODEL = Path(__file__).parents[2] / "models" / "cifar10_autoencoder.py"
SIDE = 12
TIMED = {"time/epoch_s", "images_per_s", "memory/peak_mb"}


@pytest.fixture(autouse=True)
def loaded() -> None:
    load_model_files([MODEL])


def reconstructing(epochs: int = 3, **changes: Any) -> TrialSpec:
    base: dict[str, Any] = {
        "backbone": "cifar10_autoencoder_narrow",
        "image_size": SIDE,
        "augment": {"flip": True},
        "optimizer": {"name": "adam", "lr": 0.003},
        "scheduler": {"name": "reduce_on_plateau", "metric": "val/ssim", "patience": 0},
    }
    task = ReconstructionConfig(name="reconstruction", every=2, images=4)
    return spec_of(epochs, **{**base, **changes}).model_copy(update={"task": task})


def run(
    spec: TrialSpec, folder: Path, on_epoch: Callable[[EpochMetrics], bool] = lambda metrics: False
) -> tuple[TrialOutcome, list[dict[str, float]]]:
    seen: list[EpochMetrics] = []

    def report(metrics: EpochMetrics) -> bool:
        seen.append(metrics)
        return on_epoch(metrics)

    data = colored(train=34, val=12, size=SIDE, noise=20)
    objective = ObjectiveConfig.model_validate({"metric": "val/psnr"})
    outcome = train(spec, TrialFolder(folder), Conditions(data, objective, None, CPU), report)
    return outcome, [{key: point.values[key] for key in point.values.keys() - TIMED} for point in seen]


def test_ssim_and_psnr_of_known_images_have_their_known_values() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    board = (rows + columns) % 2
    images = torch.stack([columns / 15, rows / 15, board])[None].double()
    others = torch.stack([columns / 15, (rows / 15) ** 2, board / 2 + 0.25])[None].double()
    assert ssim(images, others).item() == pytest.approx(0.8591, abs=5e-5)  # torchmetrics 1.9.0, its border cut off
    assert psnr(torch.tensor([0.01, 1.0, 0.0])).tolist() == pytest.approx([20, 0, 100])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), noise=st.floats(0.01, 0.5), side=st.sampled_from([11, 16, 33]))
def test_ssim_is_one_for_equal_images_and_symmetric_and_below_one_for_others(seed, noise, side) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, side, side, generator=generator)
    others = (images + noise * torch.randn(2, 3, side, side, generator=generator)).clamp(0, 1)
    assert ssim(images, images).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert ssim(images, others).tolist() == pytest.approx(ssim(others, images).tolist(), abs=1e-4)
    assert (ssim(images, others) < 1).all()
    assert (mean_squared_error(images, others) > 0).all()


def test_a_trial_learns_to_reconstruct_and_logs_every_measure(tmp_path: Path) -> None:
    outcome, history = run(
        reconstructing(epochs=8, scheduler="constant", optimizer={"name": "adam", "lr": 0.02}), tmp_path
    )
    measured = {"train/loss", "train/psnr", "val/loss", "val/psnr", "val/ssim", "lr", "micro_batch_size"}
    assert all(set(values) == measured for values in history)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.best_value == max(values["val/psnr"] for values in history)
    assert history[-1]["val/loss"] < history[0]["val/loss"] / 2
    assert all(-1 <= values["val/ssim"] <= 1 for values in history)
    names = {path.name for path in (tmp_path / "artifacts" / "reconstructions").iterdir()}
    assert names == {"first.png", "best.png", "last.png", *(f"epoch-000{epoch}.png" for epoch in (2, 4, 6, 8))}
    assert not (tmp_path / "artifacts" / "confusion").exists()


def test_a_trial_killed_after_any_epoch_ends_with_the_same_numbers_weights_and_pictures(tmp_path: Path) -> None:
    class Killed(Exception):
        """Stands for a process that dies at this point."""

    def die(metrics: EpochMetrics) -> bool:
        raise Killed

    outcome, history = run(reconstructing(), tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(Killed):
            run(reconstructing(), tmp_path / "broken", die)
    resumed, replayed = run(reconstructing(), tmp_path / "broken")
    assert replayed == history
    assert resumed.best_metrics == outcome.best_metrics
    kept = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "artifacts").rglob("*.*")}
        for name in ("whole", "broken")
    ]
    assert kept[0] == kept[1]


def test_a_picture_has_the_originals_above_their_reconstructions() -> None:
    pairs = np.zeros((11, 2, 32, 32, 3), dtype=np.uint8)
    pairs[:, 0, :, :, 0], pairs[:, 1, :, :, 2] = 255, 255
    picture = np.asarray(grid(pairs))
    assert picture.shape == (2 * 200 + 2, 10 * 98 + 2, 3)
    assert (picture[2:98, 2:98] == (255, 0, 0)).all()
    assert (picture[100:196, 2:98] == (0, 0, 255)).all()
    assert (picture[202:298, 2:98] == (255, 0, 0)).all()  # the eleventh, in a row of its own
    assert isinstance(grid(pairs), Image.Image)


@pytest.mark.parametrize(("suffix", "latent"), [("_narrow", 512), ("", 1024), ("_wide", 2048)])
def test_the_latent_is_narrower_than_the_image_and_the_encoder_is_a_backbone_of_it(suffix, latent, tmp_path) -> None:
    config = TrialConfig(backbone=f"cifar10_autoencoder{suffix}", image_size=32)
    whole = build_autoencoder(config)
    assert whole.backbone(torch.zeros(2, 3, 32, 32)).shape == (2, latent)
    assert whole(torch.zeros(2, 3, 32, 32)).shape == (2, 2, 3, 32, 32)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    source = {"pretrained": str(tmp_path / "whole.safetensors"), "trainable": "head"}
    encoder = build_classifier(config.model_copy(update=source), 10)
    assert not any("decoder" in name for name in encoder.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(encoder.backbone(images), whole.backbone(images))
    assert load_file(tmp_path / "whole.safetensors").keys() > {"backbone.decoder.0.weight"}


class Normalising(nn.Module):
    """An encoder, and a decoder whose batch normalisation wants two images in training."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3 * SIDE**2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.encoder(images)  # type: ignore[no-any-return]

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        return self.decoder(features).unflatten(1, (3, SIDE, SIDE))  # type: ignore[no-any-return]


def test_a_look_at_what_a_decoder_gives_back_is_possible_for_one_image_and_leaves_no_trace() -> None:
    backbone = Backbone(Normalising(), 4, (0.5,) * 3, (0.5,) * 3)
    whole = build_autoencoder(TrialConfig(backbone="normalising", image_size=SIDE), backbone=backbone)
    assert int(whole.state_dict()["backbone.decoder.1.num_batches_tracked"]) == 0
    assert whole.training


def test_what_cannot_reconstruct_is_refused_with_what_can() -> None:
    (problem,) = check_names([("search.backbone", "test_resnet")], [], [], [], decoder=True)
    assert problem[0] == "search.backbone"
    assert "cannot be built with a decoder" in problem[1]
    assert "models/cifar10_autoencoder.py" in problem[1]
    assert check_names([("search.backbone", "cifar10_autoencoder")], [], [], [], decoder=True) == []
    with pytest.raises(ModelError, match="choose an image_size that its strides divide"):
        build_autoencoder(TrialConfig(backbone="cifar10_autoencoder", image_size=14))

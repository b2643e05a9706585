"""A small convolutional autoencoder, registered with timm: two convolutions down, two up.

Name this file under `model_files:`. With `task: reconstruction` one of its networks is trained whole;
as a backbone of a classifier it is the encoder alone, whose features are the flattened latent. Images
of 32 pixels, 3,072 values, become 512 (`cifar10_autoencoder_narrow`), 1,024 (`cifar10_autoencoder`) or
2,048 values (`cifar10_autoencoder_wide`).
"""

from __future__ import annotations

from typing import Any

from timm.layers import to_2tuple  # type: ignore[attr-defined]
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

HIDDEN = 32  # channels between the two convolutions
STRIDE = 4  # side of the square of pixels that stands behind one position of the latent

default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 32, 32),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "fixed_input_size": True,
            "first_conv": "encoder.0",
            "classifier": ("fc", "decoder"),  # what weights of a whole autoencoder hold beside the encoder
        }
        for name in ("cifar10_autoencoder", "cifar10_autoencoder_narrow", "cifar10_autoencoder_wide")
    }
)


class ConvolutionalAutoencoder(nn.Module):
    """Images [B, 3, H, W] to a latent of `channels` at a quarter of the side, and back where there is a decoder.

    Args:
        channels: Of the latent; features are [B, channels * H / 4 * W / 4].
        img_size: H and W, each a multiple of 4.
        num_classes: 0 gives features instead of class scores.
        decoder: Build what `decode` needs.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        channels: int,
        img_size: int | tuple[int, int] = 32,
        num_classes: int = 1000,
        in_chans: int = 3,
        decoder: bool = False,
        drop_rate: float = 0.0,
    ):
        super().__init__()
        self.num_classes = num_classes
        height, width = (-(-side // STRIDE) for side in to_2tuple(img_size))
        self.latent = (channels, height, width)
        self.num_features = self.head_hidden_size = channels * height * width
        self.encoder = nn.Sequential(
            nn.Conv2d(in_chans, HIDDEN, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(HIDDEN, channels, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder: nn.Module = nn.Identity()
        if decoder:
            self.decoder = nn.Sequential(
                nn.ConvTranspose2d(channels, HIDDEN, 4, stride=2, padding=1),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(HIDDEN, in_chans, 4, stride=2, padding=1),
            )
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.dropout(self.encoder(images).flatten(1)))
        return scores

    def decode(self, features: Tensor) -> Tensor:
        """Return images [B, 3, H, W] for features [B, D]."""
        images: Tensor = self.decoder(features.view(-1, *self.latent))
        return images


@register_model
def cifar10_autoencoder(pretrained: bool = False, **options: Any) -> nn.Module:
    """A latent of 16 channels: a third of the values of the image."""
    return build("cifar10_autoencoder", pretrained, channels=16, **options)


@register_model
def cifar10_autoencoder_narrow(pretrained: bool = False, **options: Any) -> nn.Module:
    """A latent of 8 channels: a sixth."""
    return build("cifar10_autoencoder_narrow", pretrained, channels=8, **options)


@register_model
def cifar10_autoencoder_wide(pretrained: bool = False, **options: Any) -> nn.Module:
    """A latent of 32 channels: two thirds."""
    return build("cifar10_autoencoder_wide", pretrained, channels=32, **options)


def build(variant: str, pretrained: bool, **options: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(
        ConvolutionalAutoencoder, variant, pretrained, kwargs_filter=("global_pool",), **options
    )
    return model

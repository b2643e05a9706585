from __future__ import annotations

import pytest

from sweeper.config.nearest_name import distance, nearest_name

OPTIMIZERS = ("adanw", "adamw", "adam", "nadamw", "sgd", "sgdw", "rmsprop")
BACKBONES = ("resnet18", "skresnet18", "resnet18d", "resnet50", "efficientnet_b0", "vit_base_patch16_224")


@pytest.mark.parametrize(
    ("written", "there", "meant"),
    [
        ("admaw", OPTIMIZERS, "adamw"),  # two letters swapped; adanw is as near
        ("SGD", OPTIMIZERS, "sgd"),
        ("microsoft/resnet-18", BACKBONES, "resnet18"),
        ("resnet-18", BACKBONES, "resnet18"),
        ("ResNet18", BACKBONES, "resnet18"),
        ("EfficientNet-B0", BACKBONES, "efficientnet_b0"),
        ("google/vit-base-patch16-224", BACKBONES, "vit_base_patch16_224"),
        ("accuracy", ("train/accuracy", "val/loss", "val/accuracy"), "val/accuracy"),
        ("learning_rate", ("drop_rate", "lr"), "lr"),
        ("horizontal_flip", ("flip", "vertical_flip"), "flip"),
        ("psnr", ("train/psnr", "val/psnr", "val/ssim"), "val/psnr"),
        ("val/pnsr", ("train/psnr", "val/psnr", "val/ssim"), "val/psnr"),
        ("asha", ("median", "successive_halving", "hyperband"), "successive_halving"),
        ("learning_rate", ("drop_rate", "weight_decay"), None),
        ("mushrooms", ("median", "none"), None),
    ],
)
def test_the_name_that_was_meant_is_found_and_otherwise_none_is_guessed(
    written: str, there: tuple[str, ...], meant: str | None
) -> None:
    assert nearest_name(written, there) == meant


def test_distance_counts_letters_changed_added_left_out_or_swapped_up_to_a_bound() -> None:
    assert [distance("abc", other, 2) for other in ("abc", "abd", "ab", "abcd", "acb", "cab")] == [0, 1, 1, 1, 1, 2]
    assert distance("abc", "xyz", 2) == 3
    assert distance("abc", "abcdef", 2) == 3

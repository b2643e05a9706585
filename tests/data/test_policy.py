"""TrivialAugment and RandAugment: every operation equals torchvision's, and every image draws its own."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference
from torchvision.transforms.autoaugment import RandAugment, TrivialAugmentWide

from sweeper.config.hyperparameters import AugmentConfig, RandAugmentConfig, TrivialAugmentConfig
from sweeper.data import policy
from sweeper.data.augment import Normalize, augment_images, blur
from sweeper.data.policy import BINS, OPERATIONS, PLACE, RAND, TRIVIAL, Drawn, Strongest

REFERENCES = {TRIVIAL: TrivialAugmentWide(), RAND: RandAugment()}
COLOURS = ("brightness", "saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize")
TV_NAMES = {"saturation": "Color", "autocontrast": "AutoContrast"}
SIZE = 24


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(count: int) -> Tensor:
    """Smooth images with few values at the ends, some of one value only; uint8 [B, S, S, 3]."""
    coarse = torch.rand((count, 3, 5, 5), generator=chance(3)) * 180 + 30
    images = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 255)
    images[0] = 77
    return images.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


def step_of(name: str, count: int, bin_: int, sign: float) -> Drawn:
    each = torch.full((count,), bin_ / (BINS - 1))
    return Drawn(torch.full((count,), PLACE[name]), each, torch.full((count,), sign))


def strength_in_torchvision(name: str, most: Strongest, bin_: int) -> float:
    tv_name = TV_NAMES.get(name, name.title())
    space = REFERENCES[most]._augmentation_space(BINS, *(() if most is TRIVIAL else ((SIZE, SIZE),)))
    found = space[tv_name][0]
    return float(found[bin_]) if found.ndim else 0.0


def as_torchvision_does(image: Tensor, name: str, strength: float) -> Tensor:
    changed: Tensor
    match name:
        case "brightness" | "saturation" | "contrast" | "sharpness":
            changed = getattr(reference, f"adjust_{name}")(image, 1 + strength)
        case "posterize":
            changed = reference.posterize(image, int(strength))
        case "solarize":
            changed = reference.solarize(image, strength)
        case _:
            changed = getattr(reference, name)(image)
    return changed


@pytest.mark.parametrize("most", [TRIVIAL, RAND])
@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("bin_", [0, 9, 17, 30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_changes_of_colour_equal_those_of_torchvision(most: Strongest, name: str, bin_: int, sign: float) -> None:
    pixels = photographs(6)
    changed = policy.recolored(pixels.float(), [step_of(name, 6, bin_, sign)], most)
    strength = strength_in_torchvision(name, most, bin_) * (sign if name in COLOURS[:4] else 1)
    expected = as_torchvision_does(pixels.permute(0, 3, 1, 2), name, strength).permute(0, 2, 3, 1)
    assert (changed - expected.float()).abs().max() <= (2 if name == "saturation" else 1)
    if name in ("posterize", "solarize", "equalize", "autocontrast"):
        assert (changed == expected).float().mean() > 0.999


@pytest.mark.parametrize("most", [TRIVIAL, RAND])
@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate"])
@pytest.mark.parametrize("bin_", [1, 8])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_stays_inside_is_moved_as_torchvision_moves_it(most: Strongest, name: str, bin_: int, sign: float) -> None:
    pixels = photographs(3)
    step = step_of(name, 3, bin_, sign)
    identity = torch.eye(2, 3).expand(3, -1, -1)
    grid = torch.nn.functional.affine_grid(
        policy.moved(identity, [step], most), [3, 3, SIZE, SIZE], align_corners=False
    )
    images = pixels.permute(0, 3, 1, 2).float()
    moved = torch.nn.functional.grid_sample(images, grid, align_corners=False, padding_mode="zeros")
    part = bin_ / (BINS - 1) * sign
    shear, translate, degrees = [0.0, 0.0], [0, 0], 0.0
    if name == "rotate":
        degrees = -part * most.degrees
    elif name.startswith("shear"):
        shear[name == "shear_y"] = math.degrees(math.atan(part * most.shear))
    else:
        translate[name == "translate_y"] = -part * most.translate * SIZE  # type: ignore[call-overload]
    center = [0, 0] if name.startswith("shear") else None
    expected = reference.affine(
        images, degrees, translate, 1.0, shear, InterpolationMode.BILINEAR, fill=[0.0], center=center
    )
    inside = (grid.abs() < 0.85).all(dim=-1)[:, None].expand_as(moved)
    assert inside.float().mean() > 0.3
    assert (moved - expected)[inside].abs().max() < 2


@pytest.mark.parametrize("side", [32, 64, 224])
def test_images_are_shifted_by_as_much_as_in_torchvision_whatever_their_size(side: int) -> None:
    for config, space in (
        (TrivialAugmentConfig(name="trivial_augment"), TrivialAugmentWide()._augmentation_space(BINS)),
        (RandAugmentConfig(name="rand_augment"), RandAugment()._augmentation_space(BINS, (side, side))),
    ):
        most = policy.strongest(config, side)
        assert most.translate * side == pytest.approx(float(space["TranslateX"][0][-1]))
        assert most.shear == pytest.approx(float(space["ShearX"][0][-1]))
        assert most.degrees == pytest.approx(float(space["Rotate"][0][-1]))


def test_nothing_changes_at_no_strength() -> None:
    pixels = photographs(4)
    for name in ("identity", *OPERATIONS[1:10], "posterize"):
        step = step_of(name, 4, 0, 1.0)
        assert torch.equal(policy.recolored(pixels.float(), [step], RAND), pixels.float()), name
        assert torch.equal(policy.moved(torch.eye(2, 3).expand(4, -1, -1), [step], RAND)[0], torch.eye(2, 3)), name


def test_trivial_augment_draws_one_operation_and_any_strength() -> None:
    (drawn,) = policy.draw(TrivialAugmentConfig(name="trivial_augment"), 14_000, chance())
    counts = Counter(drawn.operation.tolist())
    assert set(counts) == set(range(len(OPERATIONS)))
    assert all(850 < count < 1150 for count in counts.values())
    assert len(set(drawn.strength.tolist())) == BINS
    assert float(drawn.strength.min()) == 0
    assert float(drawn.strength.max()) == 1
    assert 0.45 < (drawn.sign > 0).float().mean() < 0.55


@given(st.integers(1, 8), st.integers(0, 30))
def test_rand_augment_draws_several_at_one_strength(operations: int, magnitude: int) -> None:
    config = RandAugmentConfig(name="rand_augment", operations=operations, magnitude=magnitude)
    drawn = policy.draw(config, 5, chance())
    assert len(drawn) == operations
    assert all(bool((step.strength == magnitude / 30).all()) for step in drawn)


@settings(max_examples=25)
@given(
    st.sampled_from(["none", "trivial_augment", {"name": "rand_augment", "operations": 3, "magnitude": 30}]),
    st.integers(1, 9),
    st.sampled_from([8, 16, 33]),
    st.sampled_from([16, 24]),
)
def test_any_batch_becomes_numbers_of_the_right_shape_and_the_same_again(
    chosen: object, count: int, stored: int, size: int
) -> None:
    pixels = torch.randint(0, 256, (count, stored, stored, 3), generator=chance(1), dtype=torch.uint8)
    augment = AugmentConfig.model_validate(
        {"policy": chosen, "flip": True, "vertical_flip": True, "crop_padding": 2, "blur": 0.5, "color_jitter": 0.2}
    )
    normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), size, torch.device("cpu"))
    first, again = (augment_images(pixels, augment, size, normalize, chance(7)) for _ in range(2))
    assert first.shape == (count, 3, size, size)
    assert torch.equal(first, again)
    assert first.min() >= -1.0001
    assert first.max() <= 1.0001


def test_a_blur_equals_that_of_torchvision_for_its_deviation() -> None:
    pixels = photographs(5).float()
    blurred = blur(pixels, 1.0, chance(2))
    deviations = torch.rand(5, generator=chance(2)) * 1.9 + 0.1
    for place, deviation in enumerate(deviations.tolist()):
        expected = reference.gaussian_blur(pixels[place].permute(2, 0, 1), [9, 9], [deviation, deviation])
        assert (blurred[place] - expected.permute(1, 2, 0)).abs().max() < 0.01


def test_a_blur_leaves_the_others_as_they_are() -> None:
    pixels = photographs(200).float()[1:]
    blurred = blur(pixels, 0.3, chance())
    same = (blurred == pixels).flatten(1).all(1).float().mean()
    assert 0.6 < same < 0.8


@pytest.mark.parametrize("most", [TRIVIAL, RAND])
def test_a_gpu_which_changes_all_images_does_what_a_cpu_does_to_some(most: Strongest) -> None:
    pixels = photographs(300).float()
    (drawn,) = policy.draw(TrivialAugmentConfig(name="trivial_augment"), 300, chance(5))
    of_all = policy.blended(policy.looked_up(pixels, drawn, most), drawn, most)
    assert torch.equal(policy.recolored(pixels, [drawn], most), of_all)

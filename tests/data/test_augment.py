from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data import augment as under_test
from sweeper.data.augment import (
    affine_maps,
    crop_and_flip,
    erase,
    jitter_colors,
    reflect,
    resized,
    resized_crop_sides,
    warp,
)
from sweeper.data.mixing import Mix, draw_mix


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 64, size: int = 12) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), generator=chance(9), dtype=torch.uint8)


def ramp(count: int, size: int) -> Tensor:
    """Images in which red gives the column and green the row."""
    red, green = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="xy")
    return torch.stack([red, green, red * 0], dim=-1).to(torch.uint8).expand(count, -1, -1, -1).contiguous()


def test_everything_off_is_the_identity() -> None:
    pixels = noise()
    assert crop_and_flip(pixels, 0, False, False, chance()) is pixels
    assert resized(pixels, 12) is pixels


def test_flip_mirrors_half_of_the_images() -> None:
    pixels = noise(2000, 4)
    flipped = crop_and_flip(pixels, 0, True, False, chance())
    mirrored = (flipped == pixels.flip(2)).flatten(1).all(1)
    kept = (flipped == pixels).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 900 < int(mirrored.sum()) < 1100


@pytest.mark.parametrize("padding", [1, 3, 40])
def test_crop_equals_padding_by_reflection_and_cutting(padding: int) -> None:
    pixels = ramp(300, 9)
    cropped = crop_and_flip(pixels, padding, False, False, chance()).numpy()
    padded = np.pad(pixels[0].numpy(), ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    windows = {
        padded[top : top + 9, left : left + 9].tobytes()
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    }
    assert all(image.tobytes() in windows for image in cropped)
    assert len({image.tobytes() for image in cropped}) > padding


def test_crop_reaches_every_shift_equally_often() -> None:
    left = crop_and_flip(ramp(7000, 9), 3, False, False, chance())[:, 4, 4, 0].long() - 4
    counts = torch.bincount(left + 3)
    assert len(counts) == 7
    assert counts.min() > 850
    assert counts.max() < 1150


@given(st.integers(1, 30), st.lists(st.integers(-200, 200), min_size=1))
def test_reflection_stays_inside_and_mirrors(size: int, positions: list[int]) -> None:
    places = reflect(torch.tensor(positions), size)
    assert bool(((places >= 0) & (places < size)).all())
    expected = np.pad(np.arange(size), 200, mode="reflect") if size > 1 else np.zeros(401, int)
    assert places.tolist() == [
        int(expected[position + 200]) if position < size + 200 else None for position in positions
    ]


def test_smooth_images_keep_their_values_when_resized() -> None:
    flat = torch.full((2, 12, 12, 3), 77, dtype=torch.uint8)
    assert bool((resized(flat, 5) == 77).all())
    assert bool((resized(flat, 20) == 77).all())
    checks = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255).to(torch.uint8)
    reduced = resized(checks[None, :, :, None].repeat(1, 1, 1, 3), 8).int()
    assert int((reduced - 127).abs().max()) <= 2


@pytest.mark.parametrize("size", [12, 6])
def test_warp_without_change_is_the_identity(size: int) -> None:
    pixels = noise(4)
    warped = warp(pixels, AugmentConfig(random_resized_crop=1.0), size, [], chance())
    expected = pixels if size == 12 else pixels.view(4, 6, 2, 6, 2, 3).float().mean(dim=(2, 4))
    torch.testing.assert_close(warped, expected.float(), atol=0.02, rtol=0)


def test_rotation_turns_by_up_to_the_angle_and_keeps_lengths() -> None:
    maps = affine_maps(500, AugmentConfig(rotation=30), 12, chance())
    angles = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert float(angles.abs().max()) <= 30
    assert float(angles.max()) > 25
    assert float(angles.min()) < -25
    torch.testing.assert_close(torch.linalg.det(maps[:, :, :2]), torch.ones(500))


def test_quarter_turn_agrees_with_rot90(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_uniform", lambda count, low, high, generator: torch.full((count,), float(high)))
    pixels = noise(3)
    warped = warp(pixels, AugmentConfig(rotation=90), 12, [], chance())
    torch.testing.assert_close(warped, pixels.rot90(1, dims=(1, 2)).float(), atol=0.1, rtol=0)


@pytest.mark.parametrize("smallest", [0.08, 0.5, 0.9, 0.999, 1.0])
def test_resized_crops_stay_inside_and_keep_their_area(smallest: float) -> None:
    maps = affine_maps(1000, AugmentConfig(random_resized_crop=smallest), 12, chance())
    sides, centre = maps[:, [0, 1], [0, 1]], maps[:, :, 2]
    assert float((sides + centre.abs()).max()) <= 1 + 1e-6
    width, height = resized_crop_sides(1000, smallest, chance())
    assert float((width * height).max()) <= 1 + 1e-6
    assert float((width * height).min()) >= smallest * (1 - 1e-6)
    assert float((width / height).max()) <= 4 / 3 + 1e-4


def test_color_jitter_agrees_with_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.transforms.v2 import functional as tv

    factors = [1.3, 0.6, 1.4]
    drawn = iter(factors)
    monkeypatch.setattr(under_test, "_uniform", lambda count, low, high, generator: torch.full((count,), next(drawn)))
    pixels = noise(4).float()
    expected = pixels.permute(0, 3, 1, 2) / 255
    for change, factor in zip((tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation), factors, strict=True):
        expected = change(expected, factor)
    torch.testing.assert_close(
        jitter_colors(pixels, 0.5, chance()), expected.permute(0, 2, 3, 1) * 255, atol=0.1, rtol=0
    )


def test_color_jitter_stays_in_range_and_differs_by_image() -> None:
    same = noise(1).float().expand(50, -1, -1, -1)
    changed = jitter_colors(same, 1.0, chance())
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 255
    assert len(changed.flatten(1).mean(1).unique()) == 50


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_erasing_blanks_a_rectangle_of_the_right_area(probability: float) -> None:
    images = erase(torch.ones(2000, 3, 40, 40), probability, chance())
    blank = images[:, 0] == 0
    share = blank.float().mean(dim=(1, 2))
    assert float((share > 0).float().mean()) == pytest.approx(probability, abs=0.04)
    assert float(share.max()) < 0.36
    assert float(share[share > 0].min()) > 0.012
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(rows * columns, blank.sum(dim=(1, 2)))


def test_no_mixing_is_drawn_when_it_is_off() -> None:
    assert draw_mix(AugmentConfig(), 8, 12, np.random.default_rng(0)) is None


def test_mixup_blends_by_the_weight_of_the_own_label() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2).contiguous()
    mix = Mix(np.array([1.0, 0.75, 0.5, 0.0]), box=None)
    assert mix.images(images)[:, 0, 0, 0].tolist() == [0.0, 0.75, 1.5, 2.0]
    assert mix.labels(torch.arange(4)).tolist() == [3, 0, 1, 2]


@given(st.floats(0.1, 4), st.integers(0, 99))
def test_cutmix_weight_is_the_area_left_of_the_own_image(alpha: float, seed: int) -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 12, 12).contiguous()
    mix = draw_mix(AugmentConfig(cutmix=alpha), 8, 12, np.random.default_rng(seed))
    assert mix is not None
    own = (mix.images(images) == images).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(own, mix.weight_on(torch.device("cpu")))


def test_both_kinds_of_mixing_are_used_when_both_are_on() -> None:
    rng = np.random.default_rng(0)
    mixes = [draw_mix(AugmentConfig(mixup=0.2, cutmix=1), 4, 12, rng) for _ in range(100)]
    assert 30 < sum(mix is not None and mix.box is None for mix in mixes) < 70


def test_mixup_weights_follow_the_beta_distribution() -> None:
    mix = draw_mix(AugmentConfig(mixup=0.2), 20_000, 12, np.random.default_rng(0))
    assert mix is not None
    assert mix.weight.mean() == pytest.approx(0.5, abs=0.01)
    assert mix.weight.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)

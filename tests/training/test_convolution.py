"""Small maps are convolved by other arithmetic, to the same result."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sweeper.training import convolution
from sweeper.training.convolution import needs_small_maps, size_of, small_maps, taps
from sweeper.training.device import autocast, computing_in
from tests.training.learnable import CPU


@pytest.fixture(params=[True, False], ids=["slow gradients", "fast gradients"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of processor, whichever this is."""
    monkeypatch.setattr(convolution, "_has_slow_weight_gradients", lambda: request.param)


def gradients(images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, **options: Any) -> list[Any]:
    leaves = [item.clone().requires_grad_() for item in (images, weight, bias) if item is not None]
    result = functional.conv2d(leaves[0], leaves[1], leaves[2] if bias is not None else None, **options)
    with torch.autocast("cpu", enabled=False):
        (result * torch.arange(result.numel(), dtype=torch.double).view(result.shape).cos()).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves)]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    stride=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    with_bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_results_and_gradients_are_those_of_the_library(
    size: tuple[int, int],
    kernel: tuple[int, int],
    padding: tuple[int, int],
    stride: int,
    groups: int,
    with_bias: bool,
    seed: int,
) -> None:
    assume(all(size_of(size[axis], kernel[axis], padding[axis], stride) > 0 for axis in (0, 1)))
    torch.manual_seed(seed)
    images, weight = torch.randn(3, 4, *size), torch.randn(6, 4 // groups, *kernel)
    bias = torch.randn(6) if with_bias else None
    options: dict[str, Any] = {"stride": stride, "padding": padding, "groups": groups}
    exact = gradients(images.double(), weight.double(), None if bias is None else bias.double(), **options)
    with small_maps(CPU):
        found = gradients(images, weight, bias, **options)
    for left, right in zip(found, exact, strict=True):
        torch.testing.assert_close(left, right.float(), rtol=1e-4, atol=1e-4)


@given(size=st.integers(1, 9), kernel=st.integers(1, 7), padding=st.integers(0, 4), stride=st.integers(1, 4))
def test_what_is_cut_off_a_kernel_never_lies_on_the_image(size: int, kernel: int, padding: int, stride: int) -> None:
    part = taps(size, kernel, padding, stride)
    if part is None:
        return
    places = range(size_of(size, kernel, padding, stride))
    for tap in range(kernel):
        on_the_image = any(0 <= place * stride - padding + tap < size for place in places)
        assert not on_the_image or part.start <= tap < part.stop


def test_of_a_padded_kernel_on_a_single_pixel_only_the_middle_is_used() -> None:
    assert taps(size=1, kernel=3, padding=1, stride=1) == slice(1, 2)
    assert taps(size=2, kernel=3, padding=1, stride=2) == slice(1, 3)
    assert taps(size=8, kernel=3, padding=1, stride=1) == slice(0, 3)


def test_a_frozen_convolution_is_the_library_s_to_the_last_digit() -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(8, 64, 1, 1, requires_grad=True), torch.randn(64, 64, 3, 3)
    with small_maps(CPU):
        found = functional.conv2d(images, weight, padding=1)
    assert torch.equal(found, functional.conv2d(images, weight, padding=1))
    found.sum().backward()
    assert images.grad is not None


def test_a_network_has_the_gradients_it_has_without() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3).train()
    images = torch.randn(4, 3, 32, 32)
    found = []
    for context in (small_maps(CPU), small_maps(torch.device("meta"))):
        network.zero_grad()
        with context:
            loss = network(images).square().mean()
        loss.backward()
        found.append([weight.grad for weight in network.parameters()])
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups", "kernel", "stride", "kept"),
    [(8, 8, 3, 2, True), (8, 8, 5, 1, True), (8, 8, 3, 1, False), (32, 2, 3, 2, False), (8, 1, 3, 2, False)],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_in_bfloat16_what_the_library_is_slow_at_stays_in_float32(
    channels: int, groups: int, kernel: int, stride: int, kept: bool, with_bias: bool
) -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(3, channels, 4, 4), torch.randn(channels, channels // groups, kernel, kernel)
    bias = torch.randn(channels) if with_bias else None
    options: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "groups": groups}
    exact = gradients(images, weight, bias, **options)
    with small_maps(CPU), computing_in("bfloat16"), autocast(CPU):
        found = gradients(images, weight, bias, **options)
        of_rounded = functional.conv2d(images.bfloat16(), weight.clone().requires_grad_(), bias, **options)
    assert [one.dtype for one in found[1:]] == [torch.float32] * len(found[1:])
    expected = torch.float32 if kept else torch.bfloat16
    assert (found[0].dtype, of_rounded.dtype) == (expected, expected)
    for left, right in zip(found, exact, strict=True):
        rtol, atol = (1e-5, 1e-5) if kept else (0.05, 0.05 * float(right.abs().max()))
        torch.testing.assert_close(left.float(), right, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((1, 1), (3, 3), 1, 1), ((2, 2), (3, 3), 2, 1), ((4, 1), (3, 3), 1, 1), ((31, 1), (1, 3), 2, (0, 2))],
)
def test_in_bfloat16_a_part_of_a_kernel_that_never_lies_on_the_image_learns_nothing(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Any
) -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(32, 12, *size), torch.randn(4, 12, *kernel)
    options: dict[str, Any] = {"stride": stride, "padding": padding}
    exact = gradients(images, weight, None, **options)
    with small_maps(CPU), computing_in("bfloat16"), autocast(CPU):
        found = gradients(images, weight, None, **options)
    assert found[0].dtype is torch.float32
    assert ((exact[2] == 0) == (found[2] == 0)).all()
    for left, right in zip(found, exact, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("convolve", [functional.conv1d, functional.conv_transpose1d])
def test_in_bfloat16_other_convolutions_stay_in_float32(convolve: Any) -> None:
    images, weight = torch.randn(2, 4, 9), torch.randn(4, 4, 3).requires_grad_()
    with small_maps(CPU), computing_in("bfloat16"), autocast(CPU):
        assert convolve(images.bfloat16(), weight, torch.zeros(4), padding=1).dtype is torch.float32


def test_a_network_with_convolutions_is_not_compiled_in_bfloat16() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3))
    assert not needs_small_maps(network, CPU)
    with computing_in("bfloat16"):
        assert needs_small_maps(network, CPU)
        assert not needs_small_maps(torch.nn.Linear(2, 2), CPU)

"""Convolutions of small feature maps on a CPU, by arithmetic that suits them better than the library's.

A network made for large images ends, on small ones, in maps of a few pixels and many channels. There a
padded kernel lies mostly on padding, and on processors with AVX2 but not AVX-512 the library's gradient
of the weights takes up to ten times as long as one matrix product. The results are the same, apart from
the order in which numbers are added.

In bfloat16, depthwise convolutions with a stride or a kernel of 5 x 5 and more are computed in float32, since their
gradients are slow in the library (`benchmarks/precision.py`). So are maps of one row or column, and kernels with a
part that never lies on the image: for that part the library (oneDNN of torch 2.14) never writes the gradient of the
weights, which is then whatever the memory held, or it crashes. Transposed convolutions are computed in float32 too.

And one kind is avoided: on processors with AVX2 but not AVX-512 torch 2.14's library (oneDNN) writes beyond its memory
in the backward pass of a 1 x 1 convolution with a stride over 2 to 7 channels in channels_last (`repvgg_a0`,
`mobileone_s0`). The places that the stride skips are cut out first; then it has none.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from sweeper.training.device import arithmetic

FEW_CHANNELS = 8  # that the library takes at once with AVX2
LARGEST_MAP = 4  # pixels up to which the product is faster; see benchmarks/convolution.py
IN_FLOAT32 = {torch.conv1d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}
"""Convolutions that were not examined in bfloat16."""
Pair = tuple[int, int]


def small_maps(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Let the forward passes within, and the backward passes that belong to them, treat small maps so."""
    return _SmallMaps() if device.type == "cpu" else contextlib.nullcontext()


def needs_small_maps(network: nn.Module, device: torch.device) -> bool:
    """Return whether a network has convolutions of the kind that is avoided, which compiled code would not avoid."""
    if device.type == "cpu" and arithmetic(device) == "bfloat16":
        return any(isinstance(module, _ConvNd) for module in network.modules())
    return (
        device.type == "cpu"
        and _has_slow_weight_gradients()
        and any(
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and module.stride != (1, 1)
            and module.in_channels < FEW_CHANNELS
            and module.groups == 1
            for module in network.modules()
        )
    )


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return function(*(one.float() if isinstance(one, Tensor) else one for one in args), **(kwargs or {}))
        run = _convolve if function is torch.conv2d else function
        return run(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,  # noqa: A002  # as torch names it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Do what `torch.conv2d` does."""
    if torch.is_autocast_enabled("cpu"):
        if not weight.requires_grad or not _stays_in_float32(input, weight, stride, padding, dilation, groups):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        with torch.autocast("cpu", enabled=False):
            bias = None if bias is None else bias.float()
            return _convolve(input.float(), weight.float(), bias, stride, padding, dilation, groups)
    if weight.shape[2:] == (1, 1) and input.dim() == 4 and weight.shape[1] < FEW_CHANNELS and groups == 1:
        steps = _pair(stride)
        if steps != (1, 1) and padding in (0, (0, 0), [0, 0]):
            return torch.conv2d(input[:, :, :: steps[0], :: steps[1]], weight, bias)
    plain = groups == 1 and not isinstance(padding, str) and _pair(dilation) == (1, 1)
    # What is frozen gives the very features that are stored for it: those of the library.
    if (
        not weight.requires_grad
        or not plain
        or weight.shape[2:] == (1, 1)
        or input.dim() != 4
        or input.dtype != torch.float32
    ):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    steps, margins = _pair(stride), _pair(padding)
    cuts = [taps(input.shape[2 + axis], weight.shape[2 + axis], margins[axis], steps[axis]) for axis in (0, 1)]
    if cuts[0] is not None and cuts[1] is not None:
        weight = weight[:, :, cuts[0], cuts[1]]
        margins = margins[0] - cuts[0].start, margins[1] - cuts[1].start
    if _has_slow_weight_gradients() and _pixels(input, weight, margins, steps) <= LARGEST_MAP:
        return _ByProduct.apply(input, weight, bias, steps, margins)  # type: ignore[no-any-return]
    return torch.conv2d(input, weight, bias, steps, margins)


def _stays_in_float32(images: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Return whether the library's gradient of the weights is wrong in bfloat16, or up to 15 times as slow."""
    if isinstance(padding, str) or _pair(dilation) != (1, 1) or images.dim() != 4:
        return True
    steps, margins = _pair(stride), _pair(padding)
    if groups > 1 and weight.shape[1] < FEW_CHANNELS and (steps != (1, 1) or max(weight.shape[2:]) > 3):
        return True
    sizes = [(images.shape[axis], weight.shape[axis], margins[axis - 2], steps[axis - 2]) for axis in (2, 3)]
    return any(size_of(*size) < 2 or len(used_taps(*size)) < size[1] for size in sizes)


def _pixels(images: Tensor, weight: Tensor, padding: Pair, stride: Pair) -> int:
    """Return how many places the map of the result has."""
    sizes = (size_of(images.shape[2 + axis], weight.shape[2 + axis], padding[axis], stride[axis]) for axis in (0, 1))
    return math.prod(sizes)


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


@cache
def taps(size: int, kernel: int, padding: int, stride: int) -> slice | None:
    """Return the part of a kernel, along one axis, that ever lies on the image; None where it cannot be cut out."""
    used = used_taps(size, kernel, padding, stride)
    if not used:
        return None
    part = slice(used[0], used[-1] + 1)
    shorter = size_of(size, part.stop - part.start, padding - part.start, stride) if part.start <= padding else None
    return part if shorter == size_of(size, kernel, padding, stride) else None


@cache
def used_taps(size: int, kernel: int, padding: int, stride: int) -> list[int]:
    """Return the places of a kernel, along one axis, that ever lie on the image."""
    starts = [place * stride - padding for place in range(size_of(size, kernel, padding, stride))]
    return [tap for tap in range(kernel) if any(0 <= start + tap < size for start in starts)]


def size_of(size: int, kernel: int, padding: int, stride: int) -> int:
    """Return the size of a convolution's result along one axis."""
    return (size + 2 * padding - kernel) // stride + 1


@cache
def _has_slow_weight_gradients() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class _ByProduct(torch.autograd.Function):
    """A convolution whose gradient of the weights is one matrix product."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.bias_size = None if bias is None else list(bias.shape)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2])
        geometry = (ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1)
        of_images, _, of_bias = torch.ops.aten.convolution_backward(
            gradient, images, weight, ctx.bias_size, *geometry, wanted
        )
        return of_images, weight_gradient(images, gradient, weight, ctx.stride, ctx.padding), of_bias, None, None


def weight_gradient(images: Tensor, gradient: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient [O, C, K, L] from images [B, C, H, W] and the gradient of the result [B, O, U, V]."""
    outputs, channels, height, width = weight.shape
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    patches = padded.unfold(1, height, stride[0]).unfold(2, width, stride[1])  # [B, U, V, C, K, L]
    rows = patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, height * width * channels)
    products = gradient.permute(0, 2, 3, 1).reshape(-1, outputs).t() @ rows
    return products.view(outputs, height, width, channels).permute(0, 3, 1, 2)

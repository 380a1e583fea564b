"""Convolutions and pixel shuffles in a row, with nothing between them, as one convolution of the LR features.

EDSR's tail has no activation. At x4 its stages and its output convolution take 0.77 million multiplications for an LR
pixel and 64 features of every HR pixel in memory; the one 5x5 convolution that they come to takes 0.08 million and
writes the colours at once. It is exact where no layer meets the image's edge, beyond which each of them sees zeros.

Shapes: B batch, F features, C colours, H W LR size, S scale, R reach in LR pixels, K = 2R + 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.models.layers import SubPixelConv2d, shuffle


class ComposedTail(nn.Module):
    """`stages`, each followed by a pixel shuffle, and then `last`, plus a base: a colour or a network of the image."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, stages: Sequence[SubPixelConv2d], last: nn.Conv2d, *, reach: int, base: Tensor | nn.Module
    ) -> None:
        super().__init__()
        self.scale, self.reach = math.prod(stage.scale for stage in stages), reach
        with torch.autocast(last.weight.device.type, enabled=False):
            weight, bias = _composed(stages, last, self.scale, reach)
        self.base = base if isinstance(base, nn.Module) else None
        if isinstance(base, Tensor):
            bias = bias + base.flatten().repeat(self.scale**2)
        # numbers alive at once for each LR pixel: the features in float32, the colours before and after they are moved
        self.float32_values = weight.shape[1] + 4 * len(bias)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, F, H, W), (B, C, H, W) -> (B, C, S*H, S*W) float32; wrong in R pixels from where features end."""
        with torch.autocast(features.device.type, enabled=False):
            out = shuffle(functional.conv2d(features.float(), self.weight, self.bias, padding=self.reach), self.scale)
            return out if self.base is None else out + self.base(x)


@torch.no_grad()
def _composed(stages: Sequence[SubPixelConv2d], last: nn.Conv2d, scale: int, reach: int) -> tuple[Tensor, Tensor]:
    """Weight (S*S*C, F, K, K) and bias (S*S*C,), channels in the order S, S, C.

    The weight is what comes back when each number of the middle S x S pixels is sent through the transposed layers.
    """
    colours, side = last.out_channels, 2 * reach + 1
    numbers, middle = scale * scale * colours, slice(reach * scale, (reach + 1) * scale)
    found = last.weight.new_zeros(numbers, colours, scale * side, scale * side)
    ones = torch.eye(numbers, device=found.device).view(numbers, scale, scale, colours)
    found[:, :, middle, middle] = ones.permute(0, 3, 1, 2)
    found = functional.conv_transpose2d(found, last.weight, padding=1)
    for stage in reversed(stages):
        found = functional.conv_transpose2d(functional.pixel_unshuffle(found, stage.scale), stage.weight, padding=1)
    of_nothing = last(nn.Sequential(*stages)(found.new_zeros(1, found.shape[1], side, side)))
    return found, of_nothing[0, :, middle, middle].permute(1, 2, 0).flatten()

"""WDSR: Wide Activation for Efficient and Accurate Image Super-Resolution (Yu et al. 2018, arXiv 1808.08718).

Residual blocks that are narrow where they add up and wide before the activation. Every convolution is weight-normalised
and has a bias. The last one gives all S x S sub-pixels, and so does a single 5x5 convolution of the input, which is
added: there is no skip over the body and no convolution after it.

A step of the baseline (x4, batch 16 of 48x48, bf16, one busy core with AMX) takes WDSR-B 0.68 s for 2.14 s in float32
of torch's own layers, WDSR-A 0.67 s for 3.06 s. By torch.profiler 60 to 70 % of that is convolutions, most of it their
backward passes; the backward pass of ReLU takes 10 to 25 %, additions 7 to 10 %, ReLU 2 to 4 %, weight normalisation
1 %. What is left waits for memory: WDSR-B's 1x1 convolutions do little with each of the 14 MB between them. Computing
both in parts that fit the cache, and again in the backward pass, was no faster.

Shapes: B batch, F features, H W LR size, S scale.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.models.fast_layers import pointwise_conv2d
from sr_core.models.layers import Float32Conv2d, NormalisedConv2d, relu_, rgb_mean

Normalisation: TypeAlias = Literal["div2k", "half"]
Conv: TypeAlias = nn.Conv2d | NormalisedConv2d

# bf16 convolutions of 25 channels take half as long again as those of 32: on a CPU 11.5 ms for 6 ms (192 -> 25, 1x1)
_CHANNELS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WdsrAConfig:
    """The paper's WDSR-A: 3x3 to `expand` times the features and back.

    normalisation: div2k is the authors', (x - 255 * DIV2K's mean colour) / 127.5; half is ychfan's, x / 255 - 0.5. His
    published gains hold the residual's weight already (res_scale: 1 then). weight_norm: false is the fused network.
    """

    scale: int
    num_blocks: int = 16
    num_features: int = 32
    expand: int = 4
    res_scale: float = 1.0
    normalisation: Normalisation = "div2k"
    weight_norm: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WdsrBConfig(WdsrAConfig):
    """The paper's WDSR-B: 1x1 to `expand` times the features, 1x1 to `linear` times, 3x3 back."""

    expand: int = 6
    linear: float = 0.8


A_PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_blocks": 4},  # ours: minutes on a laptop
    "baseline": {},
    "wide": {"num_blocks": 32, "num_features": 128, "res_scale": 0.1},
}
B_PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_blocks": 6},  # ours: minutes on a laptop
    "baseline": {},
    "deep": {"num_blocks": 32},
}


class BlockA(nn.Module):
    """x + res_scale * conv(relu(conv(x))), both 3x3: figure 2 of the paper, WDSR-A."""

    reach = 2

    def __init__(self, config: WdsrAConfig) -> None:
        super().__init__()
        wide = config.expand * config.num_features
        self.conv1 = _conv(config, config.num_features, wide, 3)
        self.conv2 = _conv(config, wide, config.num_features, 3)
        self.res_scale = config.res_scale

    @staticmethod
    def values(config: WdsrAConfig) -> int:
        """How many numbers are alive at once for each pixel."""
        return (2 + config.expand) * config.num_features

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        out: Tensor = self.conv2(relu_(self.conv1(x)))
        return torch.add(x, out, alpha=self.res_scale)


class BlockB(nn.Module):
    """x + res_scale * conv3(conv1(relu(conv1(x)))): figure 2 of the paper, WDSR-B."""

    reach = 1

    def __init__(self, config: WdsrBConfig) -> None:
        super().__init__()
        features = config.num_features
        wide, narrow = config.expand * features, max(int(config.linear * features), 1)
        self.conv1 = _conv(config, features, wide, 1)
        self.conv2 = _conv(config, wide, narrow, 1)
        self.conv3 = _conv(config, narrow, features, 3)
        self.res_scale = config.res_scale
        self.num_padding = -narrow % _CHANNELS_AT_ONCE

    @staticmethod
    def values(config: WdsrBConfig) -> int:
        """How many numbers are alive at once for each pixel."""
        return (2 + config.expand) * config.num_features + _CHANNELS_AT_ONCE

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W); between the last two convolutions lie channels of zeros."""
        wide = relu_(self.conv1(x))
        extra = (0, 0, 0, 0, 0, 0, 0, self.num_padding)  # of widths, heights, inputs, outputs
        bias = functional.pad(_bias(self.conv2), extra[-2:])
        narrow = pointwise_conv2d(wide, functional.pad(self.conv2.weight, extra), bias)
        weight = functional.pad(self.conv3.weight, extra[2:])
        out = functional.conv2d(narrow, weight, self.conv3.bias, padding=1)
        return torch.add(x, out, alpha=self.res_scale)


class Wdsr(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255."""

    scale_dependent = ("tail", "skip")
    block: Callable[[Any], nn.Module]
    block_reach: int
    block_values: Callable[[Any], int]  # numbers alive at once for each pixel
    zero: Tensor

    def __init__(self, config: WdsrAConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = config.scale
        features, pixels = config.num_features, 3 * config.scale**2
        # head, body, tail; the skip sees two pixels
        self.receptive_field = max(1 + self.block_reach * config.num_blocks + 1, 2)
        self.decode_reach = 2
        self.encode_values = self.block_values(config)
        self.decode_values = 2 * features + 4 * 2 * pixels  # most of it in float32
        is_div2k = config.normalisation == "div2k"
        self.range = 127.5 if is_div2k else 255.0
        self.register_buffer("zero", rgb_mean() if is_div2k else torch.full((1, 3, 1, 1), 127.5), persistent=False)
        self.head = _conv(config, 3, features, 3)
        self.body = nn.Sequential(*(self.block(config) for _ in range(config.num_blocks)))
        self.tail = _conv(config, features, pixels, 3, is_output=True)
        self.skip = _conv(config, 3, pixels, 5, is_output=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        return self.decode(self.encode(x), x)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F, H, W)."""
        out: Tensor = self.body(self.head((x - self.zero) / self.range))
        return out

    def decode(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, F, H, W), (B, 3, H, W) -> (B, 3, S*H, S*W)."""
        out = self.tail(features) + self.skip((x - self.zero) / self.range)
        # (B, 3*S*S, H, W) -> (B, 3, S*H, S*W)
        return functional.pixel_shuffle(out, self.scale) * self.range + self.zero

    def fused(self) -> "Wdsr":
        """The same function with a plain convolution for every normalised one, on the same device."""
        plain = type(self)(dataclasses.replace(self.config, weight_norm=False)).to(self.zero.device)
        convolutions = {name: module for name, module in self.named_modules() if isinstance(module, Conv)}
        tensors = {f"{name}.weight": conv.weight for name, conv in convolutions.items()}
        plain.load_state_dict(tensors | {f"{name}.bias": _bias(conv) for name, conv in convolutions.items()})
        return plain.train(self.training)


class WdsrA(Wdsr):
    """The variant with two 3x3 convolutions a block."""

    block, block_reach, block_values = BlockA, BlockA.reach, staticmethod(BlockA.values)


class WdsrB(Wdsr):
    """The variant with two 1x1 convolutions and one of 3x3 a block."""

    block, block_reach, block_values = BlockB, BlockB.reach, staticmethod(BlockB.values)


def _conv(config: WdsrAConfig, num_in: int, num_out: int, kernel_size: int, *, is_output: bool = False) -> Conv:
    if config.weight_norm:
        return NormalisedConv2d(num_in, num_out, kernel_size, is_output=is_output)
    if is_output:
        return Float32Conv2d(num_in, num_out, kernel_size)
    return nn.Conv2d(num_in, num_out, kernel_size, padding=kernel_size // 2)


def _bias(conv: Conv) -> Tensor:
    assert conv.bias is not None
    return conv.bias

"""EDSR: Enhanced Deep Residual Networks for Single Image Super-Resolution (Lim et al. 2017, arXiv 1707.02921).

Residual blocks without batch normalisation, one long skip, sub-pixel upsampling at the end. The mean of DIV2K
is subtracted before and added after, on a 0..255 scale.

Shapes: B batch, F features, H W LR size, S scale.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from sr_core.models.composed import ComposedTail
from sr_core.models.interpolation import Bicubic
from sr_core.models.layers import Float32Conv2d, GlobalSkip, conv3x3, relu_, rgb_mean, upsampler


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EdsrConfig:
    """The paper's table 1: baseline is 16 x 64 with residual scaling 1, the full network 32 x 256 with 0.1."""

    scale: int
    num_blocks: int = 16
    num_features: int = 64
    res_scale: float = 1.0
    global_skip: GlobalSkip = "none"  # bicubic, ours: the network learns what bicubic interpolation lacks


PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_blocks": 4, "num_features": 32},  # ours: minutes on a laptop
    "baseline": {},
    "full": {"num_blocks": 32, "num_features": 256, "res_scale": 0.1},
}


class ResidualBlock(nn.Module):
    """x + res_scale * conv(relu(conv(x))): figure 2c of the paper."""

    def __init__(self, num_features: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_features, num_features)
        self.conv2 = conv3x3(num_features, num_features)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        out: Tensor = self.conv2(relu_(self.conv1(x)))
        return torch.add(x, out, alpha=self.res_scale)


class Edsr(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255."""

    scale_dependent = ("upsampler", "tail")
    mean: Tensor

    def __init__(self, config: EdsrConfig) -> None:
        super().__init__()
        features = config.num_features
        self.scale = config.scale
        # head, two per block, after the body, one per upsampling stage, tail: each 3x3 reaches one pixel further
        self.receptive_field = 1 + 2 * config.num_blocks + 1 + 1 + 1
        self.decode_reach = 2
        self.encode_values = 4 * features  # the long skip, a block's input, and what two convolutions make of it
        # the last stage before and after its shuffle, and in float32 what the tail reads
        self.decode_values = 4 * features * config.scale**2
        self.register_buffer("mean", rgb_mean(), persistent=False)
        self.head = conv3x3(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features, config.res_scale) for _ in range(config.num_blocks)))
        self.after_body = conv3x3(features, features)
        self.upsampler = upsampler(features, config.scale)
        self.tail = Float32Conv2d(features, 3, kernel_size=3)
        self.global_skip = Bicubic(config.scale) if config.global_skip == "bicubic" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        return self.decode(self.encode(x), x)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F, H, W)."""
        shallow = self.head(x - self.mean)
        deep: Tensor = self.after_body(self.body(shallow)) + shallow
        return deep

    def decode(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, F, H, W), (B, 3, H, W) -> (B, 3, S*H, S*W)."""
        base = self.mean if self.global_skip is None else self.global_skip(x)
        out: Tensor = self.tail(self.upsampler(features)) + base
        return out

    def inner_decoder(self) -> ComposedTail:
        """What `decode` is where nothing beyond the image's edge is seen: no layer of it has an activation."""
        base = self.mean if self.global_skip is None else self.global_skip
        return ComposedTail([*self.upsampler], self.tail, reach=self.decode_reach, base=base)

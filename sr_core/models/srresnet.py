"""SRResNet, and the generator of SRGAN: Photo-Realistic Single Image Super-Resolution (Ledig et al. 2017, 1609.04802).

Residual blocks with batch normalisation and parametric ReLU, one long skip, sub-pixel upsampling, wide convolutions
at both ends (figure 4 of the paper). It reads images on [0, 1] and answers on [-1, 1]; both are converted here.

Shapes: B batch, F features, H W LR size, S scale.
"""

import dataclasses
from typing import Any

from torch import Tensor, nn

from sr_core.models.fast_layers import PReLU, UnshuffledConv2d
from sr_core.models.interpolation import Bicubic
from sr_core.models.layers import GlobalSkip, SubPixelConv2d

SCALES = (2, 4, 8)  # the paper upsamples by stages of 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SrresnetConfig:
    """Section 2.1 of the paper: 16 blocks of 64 features."""

    scale: int
    num_blocks: int = 16
    num_features: int = 64
    global_skip: GlobalSkip = "none"  # bicubic, ours: the network learns what bicubic interpolation lacks


PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_blocks": 4, "num_features": 32, "global_skip": "bicubic"},  # ours: minutes on a laptop
    "paper": {},
}


class ResidualBlock(nn.Module):
    """x + norm(conv(prelu(norm(conv(x))))): without bias where a normalisation follows."""

    normalised = (("conv1", "norm1"), ("conv2", "norm2"))

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.conv1 = _conv_before_norm(num_features)
        self.norm1 = nn.BatchNorm2d(num_features)
        self.activation = PReLU()
        self.conv2 = _conv_before_norm(num_features)
        self.norm2 = nn.BatchNorm2d(num_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        out: Tensor = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        return out.add_(x)


class Upsampling(nn.Module):
    """conv3 F -> 4F, PixelShuffle(2), PReLU."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.conv = SubPixelConv2d(num_features, 2)
        self.activation = PReLU()

    def forward(self, x: Tensor, *, is_shuffled: bool = True) -> Tensor:
        """(B, F, H, W) -> (B, F, 2*H, 2*W), or before the shuffle (B, 4*F, H, W), channels in the order 2, 2, F."""
        out: Tensor = self.activation(self.conv(x) if is_shuffled else self.conv.unshuffled(x))
        return out


class Srresnet(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255."""

    scale_dependent = ("upsampler", "tail")
    normalised = (("after_body", "norm"),)

    def __init__(self, config: SrresnetConfig) -> None:
        super().__init__()
        features = config.num_features
        self.scale = config.scale
        # head 4, two per block, after the body 1; a 9x9 tail after stages of 3x3 reaches 3 LR pixels at any scale:
        # 4 HR pixels end in the second pixel away, one further is the third, and halving 3 and adding 1 is 3 again
        self.receptive_field = 4 + 2 * config.num_blocks + 1 + 3
        self.decode_reach = 3
        self.encode_values = 4 * features  # the long skip, a block's input, and what two layers make of it
        self.decode_values = 4 * features * config.scale**2  # the last stage, in float32 for the tail
        self.head = nn.Conv2d(3, features, 9, padding=4)
        self.activation = PReLU()
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(config.num_blocks)))
        self.after_body = _conv_before_norm(features)
        self.norm = nn.BatchNorm2d(features)
        self.upsampler = nn.ModuleList(Upsampling(features) for _ in range(SCALES.index(config.scale) + 1))
        self.tail = UnshuffledConv2d(features, 3, kernel_size=9)
        self.global_skip = Bicubic(config.scale) if config.global_skip == "bicubic" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        return self.decode(self.encode(x), x)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F, H, W)."""
        shallow = self.activation(self.head(x / 255.0))
        out: Tensor = self.norm(self.after_body(self.body(shallow))) + shallow
        return out

    def decode(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, F, H, W), (B, 3, H, W) -> (B, 3, S*H, S*W)."""
        out = features
        *first, last = self.upsampler
        for stage in first:
            out = stage(out)
        base = 127.5 if self.global_skip is None else self.global_skip(x)
        rgb: Tensor = self.tail(last(out, is_shuffled=False), scale=2) * 127.5 + base
        return rgb


def _conv_before_norm(num_features: int) -> nn.Conv2d:
    return nn.Conv2d(num_features, num_features, 3, padding=1, bias=False)

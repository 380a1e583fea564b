"""SRCNN: Image Super-Resolution Using Deep Convolutional Networks (Dong et al. 2014, arXiv 1501.00092).

Three convolutions on the bicubically enlarged image, on 0..1. Where this departs from the paper: the borders are padded
with zeros, so that the size stays, and all layers have one learning rate.

Shapes: B batch, H W LR size, S scale.
"""

import dataclasses
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sr_core.models.interpolation import Bicubic
from sr_core.models.layers import Float32Conv2d, GlobalSkip, relu_

OddSide: TypeAlias = Literal[1, 3, 5, 7, 9, 11]

_PAPER_STD = 1e-3
_LUMA = (65.481, 128.553, 24.966)  # BT.601, RGB in 0..1 -> Y - 16 in 0..219


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SrcnnConfig:
    """Kernel sizes and maps of the three layers.

    num_colours: 3 for RGB; 1 for Y alone, the colours then come from bicubic interpolation. global_skip: bicubic, ours,
    learns the difference to the enlarged image; it starts at no difference, with PyTorch's initialisation below.
    """

    scale: int
    kernel1: OddSide = 9
    kernel2: OddSide = 1
    kernel3: OddSide = 5
    num_features1: int = 64
    num_features2: int = 32
    num_colours: Literal[1, 3] = 3
    global_skip: GlobalSkip = "none"


PRESETS: dict[str, dict[str, Any]] = {
    # ours: minutes on a laptop, while the paper trained for 8 x 10^8 backward passes: half the maps, and a skip
    "small": {"num_features1": 32, "num_features2": 16, "global_skip": "bicubic"},
    "9-1-5": {},
    "9-3-5": {"kernel2": 3},
    "9-5-5": {"kernel2": 5},
}


class Srcnn(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255."""

    scale_dependent: tuple[str, ...] = ()  # the authors train one set of weights for each scale, but any fits

    def __init__(self, config: SrcnnConfig) -> None:
        super().__init__()
        scale, colours = config.scale, config.num_colours
        self.scale = scale
        reach = (config.kernel1 + config.kernel2 + config.kernel3 - 3) // 2  # HR pixels
        # the last enlarged pixel that is seen has its centre (2 reach + S - 1) / 2S beyond the LR pixel's; bicubic
        # interpolation sees less than two pixels further
        self.receptive_field = -(-(2 * reach + scale - 1) // (2 * scale)) + 1
        # all of it at HR size: two layers of features, and in float32 what the last one reads, beside some colours
        self.decode_values = (config.num_features1 + 3 * config.num_features2 + 4 * 3) * scale**2
        self.enlarge = Bicubic(scale)
        self.conv1 = _conv(colours, config.num_features1, config.kernel1)
        self.conv2 = _conv(config.num_features1, config.num_features2, config.kernel2)
        self.conv3 = Float32Conv2d(config.num_features2, colours, config.kernel3)
        self.has_skip = config.global_skip == "bicubic"
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        enlarged = self.enlarge(x) / 255.0
        is_luma = self.conv1.in_channels == 1
        image = _luma(enlarged) if is_luma else enlarged
        out: Tensor = self.conv3(relu_(self.conv2(relu_(self.conv1(image)))))
        if self.has_skip:
            out = out + image
        if is_luma:
            out = enlarged + (255.0 / 219.0) * (out - image)  # Cb and Cr as they are: all three move alike
        return out * 255.0

    def _initialise(self) -> None:
        """The paper's Gaussian; with a skip PyTorch's own, and zeros in the last layer."""
        chosen = self.conv3 if self.has_skip else self
        for parameter in chosen.parameters():
            is_weight = parameter.dim() == 4
            nn.init.normal_(parameter, std=_PAPER_STD if is_weight and not self.has_skip else 0.0)


def _conv(num_in: int, num_out: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, kernel_size, padding=kernel_size // 2)


def _luma(rgb: Tensor) -> Tensor:
    """BT.601: (B, 3, H, W) in 0..1 -> (B, 1, H, W) in 16/255..235/255."""
    weights = torch.tensor(_LUMA, device=rgb.device).view(1, 3, 1, 1)
    return ((rgb * weights).sum(1, keepdim=True) + 16.0) / 255.0

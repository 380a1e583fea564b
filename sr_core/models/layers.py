"""What several networks are made of."""

import torch
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB in 0..1, over DIV2K's training images (Lim et al. 2017)


def rgb_mean() -> Tensor:
    """DIV2K's mean colour on a 0..255 scale, shape (1, 3, 1, 1)."""
    return 255.0 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)


def conv3x3(num_in: int, num_out: int) -> nn.Conv2d:
    """A 3x3 convolution with bias that keeps the size."""
    return nn.Conv2d(num_in, num_out, 3, padding=1)


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 under autocast: an output head, whose 8 bits bf16 would blur."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(B, C, H, W) of any float type -> (B, C', H, W) float32."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def upsampler(num_features: int, scale: int) -> nn.Sequential:
    """Sub-pixel upsampling (Shi et al. 2016) as EDSR stacks it: x2 stages for 2, 4, 8; one stage for 3."""
    factors = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]
    stages = [
        nn.Sequential(conv3x3(num_features, factor * factor * num_features), nn.PixelShuffle(factor))
        for factor in factors
    ]
    return nn.Sequential(*stages)  # (B, F, H, W) -> (B, F, S*H, S*W)

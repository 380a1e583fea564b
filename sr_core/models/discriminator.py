"""The discriminator of SRGAN: Photo-Realistic Single Image Super-Resolution (Ledig et al. 2017, arXiv 1609.04802).

Eight convolutions, of which every second halves the image, and two dense layers (figure 4 of the paper). It reads
HR crops of one size.

Shapes: B batch, F features, S side of a crop in HR pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.errors import ConfigError

SMALLEST_SIDE = 32  # HR pixels: two pixels are left of it after the four halvings
SLOPE = 0.2  # of every LeakyReLU


def check_side(side: int) -> None:
    """Raises ConfigError where crops of `side` HR pixels are smaller than the 32 that a discriminator can judge."""
    if side < SMALLEST_SIDE:
        raise ConfigError(
            f"train.crop: HR crops of {side} pixels are too small for the discriminator, expected at least "
            f"{SMALLEST_SIDE} (train.crop or data.crop times data.scale)"
        )


class Discriminator(nn.Module):
    """(B, 3, S, S) RGB on 0..1 -> (B, 1) float32 logits, positive for "real"; inside, images are on [-1, 1]."""

    def __init__(self, *, side: int, num_features: int = 64, num_dense: int = 1024) -> None:
        """For crops of `side` HR pixels; weights as PyTorch begins them: the paper does not say.

        Raises:
            ConfigError: crops smaller than 32 HR pixels.
        """
        super().__init__()
        check_side(side)
        first, last = num_features, 8 * num_features
        convs: list[nn.Module] = [_Block(3, first, stride=1, has_norm=False), _Block(first, first, stride=2)]
        for num_in in (first, 2 * first, 4 * first):
            convs += [_Block(num_in, 2 * num_in, stride=1), _Block(2 * num_in, 2 * num_in, stride=2)]
        side = -(-side // 16)
        self.body = nn.Sequential(*convs)
        self.dense = nn.Linear(last * side * side, num_dense)
        self.tail = nn.Linear(num_dense, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1)."""
        features = self.body(2.0 * x - 1.0).flatten(1)  # (B, 8*F, S/16, S/16) -> (B, 8*F*S/16*S/16)
        dense = functional.leaky_relu(self.dense(features), SLOPE)
        with torch.autocast(x.device.type, enabled=False):  # bf16 has 8 bits, too few for differences of logits
            logits: Tensor = self.tail(dense.float())
        return logits


class _Block(nn.Module):
    """conv3, BatchNorm (the convolution has a bias where there is none), LeakyReLU."""

    def __init__(self, num_in: int, num_out: int, *, stride: int, has_norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=not has_norm)
        self.norm = nn.BatchNorm2d(num_out) if has_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/stride, W/stride), rounded up."""
        return functional.leaky_relu_(self.norm(self.conv(x)), SLOPE)

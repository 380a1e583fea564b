"""The self-ensemble of EDSR's paper (Lim et al. 2017, section 3.4): the mean over the 8 symmetries of the square.

Shapes: H W LR size, S scale.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.upscale import AnyPrecision, upscale_float


def upscale_ensemble(
    network: nn.Module,
    image: NDArray[np.uint8],
    *,
    device: torch.device | None = None,
    precision: AnyPrecision = "auto",
    tile: int | None = None,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (S*H, S*W, 3) uint8: every symmetry is enlarged and turned back, then the mean is rounded."""
    total: NDArray[np.float32] = np.zeros(1, np.float32)
    for quarters in range(4):
        for mirrored in (False, True):
            turned = np.rot90(image[:, ::-1] if mirrored else image, quarters)
            enlarged = upscale_float(network, turned, device=device, precision=precision, tile=tile)
            back = np.rot90(enlarged, -quarters)
            total = total + (back[:, ::-1] if mirrored else back)
    rounded: NDArray[np.uint8] = np.floor(total / 8 + 0.5).clip(0, 255).astype(np.uint8)
    return rounded

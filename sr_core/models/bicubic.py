"""Bicubic interpolation as a network without parameters: the baseline in every table.

MATLAB's imresize for enlarging (Keys 1981, a = -0.5, mirrored border), in float32 without intermediate rounding.
"""

import functools

import torch
from torch import Tensor, nn

from sr_core.data.resize import resize_matrix


class Bicubic(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32, not clipped."""

    receptive_field = 2  # four taps, of which at most two lie beyond the output pixel's own LR pixel

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Two matrix products, one per axis."""
        height, width = x.shape[-2:]
        with torch.autocast(x.device.type, enabled=False):
            rows = _matrix(height, self.scale).to(x.device)
            columns = _matrix(width, self.scale).to(x.device)
            return rows @ x.float() @ columns.T  # (S*H, H) @ (B, 3, H, W) @ (W, S*W)


@functools.lru_cache(maxsize=64)
def _matrix(length: int, scale: int) -> Tensor:
    # a tensor made in inference mode, and kept by the cache, could never again take part in training
    with torch.inference_mode(False):
        return torch.from_numpy(resize_matrix(length, length * scale, border="mirror")).float()

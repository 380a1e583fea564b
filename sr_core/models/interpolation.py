"""Interpolation as networks without parameters: what every other network is compared with.

MATLAB's imresize for enlarging: separable, mirrored border, weights normalised to a sum of 1, in float32 and without
rounding in between. Enlarging takes no antialiasing.

Keys' cubic (a = -0.5): https://doi.org/10.1109/TASSP.1981.1163711
"""

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

Kernel = Callable[[Tensor], Tensor]  # weights by distance in LR pixels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InterpolationConfig:
    """Interpolation has a scale and nothing else."""

    scale: int


class Interpolation(nn.Module):
    """(B, C, H, W) -> (B, C, S*H, S*W) float32 on the same range, which cubic and Lanczos overshoot; not clipped."""

    scale_dependent: tuple[str, ...] = ()

    def __init__(self, scale: int, kernel: Kernel, reach: int) -> None:
        super().__init__()
        self.scale = scale
        # 2 * reach taps, of which at most `reach` lie beyond the output pixel's own LR pixel
        self.receptive_field = reach
        self.decode_values = 3 * (1 + scale + scale**2)  # one axis after the other
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Two matrix products, one per axis."""
        height, width = x.shape[-2:]
        with torch.autocast(x.device.type, enabled=False):
            # what is made while a network is traced stands for numbers and holds none: the cache must not keep it
            matrix = enlarging_matrix.__wrapped__ if torch.compiler.is_compiling() else enlarging_matrix
            rows, columns = (
                matrix(length, self.scale, self.kernel, self.receptive_field, x.device) for length in (height, width)
            )
            return rows @ x.float() @ columns.T  # (S*H, H) @ (B, C, H, W) @ (W, S*W)


@functools.lru_cache(maxsize=64)
def enlarging_matrix(length: int, scale: int, kernel: Kernel, reach: int, device: torch.device) -> Tensor:
    """The (scale * length, length) weights that enlarge one axis."""
    # a tensor made in inference mode, and kept by the cache, could never again take part in training
    with torch.inference_mode(False):
        centre = (torch.arange(scale * length, dtype=torch.float64) + 0.5) / scale - 0.5  # in LR pixels from 0
        taps = centre.floor()[:, None] + torch.arange(-reach, reach + 2)
        weights = kernel((centre[:, None] - taps).abs())
        weights /= weights.sum(1, keepdim=True)
        inside = taps.long() % (2 * length)
        inside = torch.minimum(inside, 2 * length - 1 - inside)
        matrix = torch.zeros(scale * length, length, dtype=torch.float64).scatter_add_(1, inside, weights)
        return matrix.float().to(device)


def _box(x: Tensor) -> Tensor:
    return (x < 0.5).double()


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))


def _lanczos3(x: Tensor) -> Tensor:
    return torch.sinc(x) * torch.sinc(x / 3) * (x < 3)


class Nearest(Interpolation):
    """Every pixel S x S times."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale, _box, reach=0)


class Bilinear(Interpolation):
    """Straight lines between the pixels' centres."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale, _triangle, reach=1)


class Bicubic(Interpolation):
    """Keys' cubic: the baseline in every table, and the skip of networks that learn what it lacks."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale, _cubic, reach=2)


class Lanczos(Interpolation):
    """The sinc function in a window of three of its zeros."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale, _lanczos3, reach=3)

"""PSNR and SSIM (Wang et al. 2004), and the protocols under which numbers can be compared.

    benchmark-y    Set5, Set14, BSD100, Urban100 in every paper since SRCNN
    div2k-rgb      DIV2K validation as EDSR and WDSR publish it
    whole-rgb      all pixels of all channels

Both are taken from images rounded to uint8, in float64. Luma is ITU-R BT.601 as MATLAB's rgb2ycbcr has it (16..235)
but *not rounded*, which is how the published tables were made. MATLAB's own answers on five images are the golden test.

A number means nothing without its protocol: channel and shaved border change PSNR by more than a better network
does, so whatever stores a number stores the protocol beside it.

Shapes: H W HR size.
"""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sr_core.data.resize import Border
from sr_core.errors import ImageError

Plane = NDArray[np.float64]  # (H, W)

PEAK = 255.0
WINDOW = 11  # side of SSIM's Gaussian window
SIGMA = 1.5
K = (0.01, 0.03)
C1, C2 = ((k * PEAK) ** 2 for k in K)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """On which channels, how much of the border is left out, and how LR is made where a test set has none."""

    name: str
    channel: Literal["y", "rgb"]
    shave_scales: int  # the shaved border is shave_scales * scale + shave_pixels HR pixels
    shave_pixels: int
    border: Border  # of MATLAB's bicubic that makes LR

    def shave_of(self, scale: int) -> int:
        """HR pixels left out on every side at this scale."""
        return self.shave_scales * scale + self.shave_pixels

    def describe(self, scale: int) -> str:
        """The protocol in words: `benchmark-y (Y, 4 pixels shaved)`."""
        shave = self.shave_of(scale)
        border = f"{shave} pixels shaved" if shave else "whole image"
        return f"{self.name} ({self.channel.upper()}, {border})"

    def least_side(self, scale: int) -> int:
        """HR pixels that each side of an image must have: one window of SSIM inside the shaved border."""
        return 2 * self.shave_of(scale) + WINDOW

    def record(self, scale: int) -> dict[str, Any]:
        """Everything that makes a figure what it is, in plain values, as it stands beside the figures in a report."""
        return {
            "name": self.name,
            "channel": self.channel,
            "shave_px": self.shave_of(scale),
            "border": self.border,
            "rounding": "uint8 before measuring; Y itself is not rounded" if self.channel == "y" else "uint8",
            "psnr": {"peak": PEAK, "mean": "of the images' decibels"},
            "ssim": {"window_px": WINDOW, "sigma_px": SIGMA, "k": list(K), "variance": "population", "valid": True},
        }


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="benchmark-y", channel="y", shave_scales=1, shave_pixels=0, border="clamp"),
        Protocol(name="div2k-rgb", channel="rgb", shave_scales=1, shave_pixels=6, border="mirror"),
        Protocol(name="whole-rgb", channel="rgb", shave_scales=0, shave_pixels=0, border="mirror"),
    )
}


def psnr(sr: NDArray[np.uint8], hr: NDArray[np.uint8], *, protocol: Protocol, scale: int) -> float:
    """Peak signal-to-noise ratio in dB of `sr` against `hr`, both (H, W, 3) uint8; math.inf when they are equal.

    For RGB the squared error is averaged over the three channels before the logarithm.

    Raises:
        ImageError: the sizes differ, or nothing is left inside the shaved border.
    """
    error = np.mean([np.mean((a - b) ** 2) for a, b in _planes(sr, hr, protocol, scale, least=1)])
    return math.inf if error == 0 else float(10 * np.log10(PEAK**2 / error))


def ssim(sr: NDArray[np.uint8], hr: NDArray[np.uint8], *, protocol: Protocol, scale: int) -> float:
    """Structural similarity of `sr` and `hr`, both (H, W, 3) uint8: the mean over all 11x11 windows inside the image.

    Gaussian window with sigma 1.5, K = (0.01, 0.03), population variance; for RGB the mean over the three channels.

    Raises:
        ImageError: the sizes differ, or less than one window is left inside the shaved border.
    """
    return float(np.mean([_ssim(a, b) for a, b in _planes(sr, hr, protocol, scale, least=WINDOW)]))


def luma(image: NDArray[np.uint8]) -> Plane:
    """Y of (H, W, 3) uint8 RGB in 16..235, not rounded, (H, W)."""
    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return np.asarray(16.0 + image @ weights, dtype=np.float64)


def _planes(
    sr: NDArray[np.uint8], hr: NDArray[np.uint8], protocol: Protocol, scale: int, *, least: int
) -> list[tuple[Plane, Plane]]:
    """The pairs of planes to compare, shaved."""
    shave = protocol.shave_of(scale)
    _check(sr, hr, shave, least)
    inside = (slice(shave, sr.shape[0] - shave), slice(shave, sr.shape[1] - shave))
    if protocol.channel == "y":
        return [(luma(sr[inside]), luma(hr[inside]))]
    pair = (sr[inside].astype(np.float64), hr[inside].astype(np.float64))
    return [(pair[0][..., c], pair[1][..., c]) for c in range(3)]


def _check(sr: NDArray[np.uint8], hr: NDArray[np.uint8], shave: int, least: int) -> None:
    for name, image in (("SR", sr), ("HR", hr)):
        # a float image in 0..1 would give a number, and a wrong one
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(
                f"the {name} image is {image.dtype} of shape {image.shape}, expected uint8 (height, width, 3): "
                "round and clip it to 0..255 first"
            )
    if sr.shape != hr.shape:
        raise ImageError(
            f"the SR image is {_size(sr)} and the HR image {_size(hr)}, expected equal sizes: "
            "crop HR to a multiple of the scale before it is degraded"
        )
    smallest = 2 * shave + least
    if min(sr.shape[:2]) < smallest:
        raise ImageError(
            f"the image is {_size(sr)}, expected at least {smallest} pixels a side with {shave} shaved on each: "
            "leave it out of the test set or choose a protocol that shaves less"
        )


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _ssim(a: Plane, b: Plane) -> float:
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = _blur(a * a) - mean_a**2
    variance_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return float(np.mean(luminance * (2 * covariance + C2) / (variance_a + variance_b + C2)))


def _blur(plane: Plane) -> Plane:
    """(H, W) -> (H - 10, W - 10): the Gaussian mean over every window that lies inside."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = plane.shape[0] - WINDOW + 1, plane.shape[1] - WINDOW + 1
    # the 2-D window is the product of two 1-D ones
    rows = sum(weight * plane[i : i + height] for i, weight in enumerate(weights))
    return np.asarray(sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights)))

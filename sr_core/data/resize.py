"""Bicubic resizing as MATLAB's imresize does it, bit for bit.

DIV2K's LR images and those of the usual benchmarks were made by it: Keys' cubic with a = -0.5, widened by the
scale when shrinking (antialiasing), and for uint8 images rounded and clipped to uint8 after each of the two
one-dimensional passes, rows first. Pillow's BICUBIC is another filter: a sixth of its pixels differ.

Taps are summed one after the other with element-wise operations: a matrix product would leave the order of
the sum, and with it the last bit, to the machine's BLAS. Scales 2 and 4 have weights of so few bits that float32 sums
them without rounding, in 40 % of the time.

Kernel: https://doi.org/10.1109/TASSP.1981.1163711
"""

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Border: TypeAlias = Literal["mirror", "clamp"]  # mirror: DIV2K; clamp: Set5, Set14, BSD100, Urban100

_WEIGHT_BITS = 12  # of which the weights of scale 4 are multiples
_STRIP_ROWS = 16  # output rows summed at once: strips of a 2K image stay in the L2 cache


def bicubic_down(image: NDArray[np.uint8], scale: int, *, border: Border = "mirror") -> NDArray[np.uint8]:
    """(H, W, C) -> (H // scale, W // scale, C), after cropping to a multiple of `scale`."""
    image = crop_to_multiple(image, scale)
    height, width, _ = image.shape
    image = _shrink_rows(image, *_contributions(height, height // scale, border))
    # columns are shrunk as rows of the transposed image, whose rows are contiguous
    turned = _shrink_rows(image.transpose(1, 0, 2), *_contributions(width, width // scale, border))
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def crop_to_multiple(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The top left part of `image` (H, W, C) whose sides are multiples of `scale`, as a view."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def resize_matrix(length: int, out_length: int, *, border: Border = "mirror") -> NDArray[np.float64]:
    """The (out_length, length) weights that resize one axis; antialiased when shrinking."""
    taps, weights = _contributions(length, out_length, border)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], taps), weights)
    return matrix


def _contributions(length: int, out_length: int, border: Border) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For every output position its input positions and their weights, both (out_length, taps)."""
    scale = out_length / length
    shrink = min(scale, 1.0)
    support = 4 / shrink
    # MATLAB counts pixels from 1
    centre = np.arange(1, out_length + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centre - support / 2)
    taps = first[:, None] + np.arange(math.ceil(support) + 2)
    weights = shrink * _keys(shrink * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    used = (weights != 0).any(axis=0)
    return _inside(taps[:, used].astype(np.int64) - 1, length, border), weights[:, used]


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _inside(taps: NDArray[np.int64], length: int, border: Border) -> NDArray[np.int64]:
    if border == "clamp":
        return taps.clip(0, length - 1)
    taps = taps % (2 * length)
    return np.minimum(taps, 2 * length - 1 - taps)


def _shrink_rows(image: NDArray[np.uint8], taps: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H, W, C) -> (len(taps), W, C), rounded half up and clipped."""
    rows = np.ascontiguousarray(image).reshape(len(image), -1)
    out = np.empty((len(taps), rows.shape[1]), np.uint8)
    weights = weights.astype(np.float32 if _fit_float32(weights) else np.float64)
    for start in range(0, len(taps), _STRIP_ROWS):
        strip = slice(start, start + _STRIP_ROWS)
        total = np.zeros((len(taps[strip]), rows.shape[1]), weights.dtype)
        for tap in range(taps.shape[1]):
            total += weights[strip, tap, None] * rows[taps[strip, tap]]
        out[strip] = np.floor(total + 0.5).clip(0, 255)
    return out.reshape(len(taps), *image.shape[1:])


def _fit_float32(weights: NDArray[np.float64]) -> bool:
    """Whether float32 holds every sum of `weights` times 8-bit numbers exactly."""
    units = weights * 2.0**_WEIGHT_BITS
    largest = 256 * np.abs(units).sum(axis=1).max()
    return bool((units == np.rint(units)).all() and largest < 2**24)

"""Blur kernels, and images blurred by them to the last bit.

A kernel is a float64 array (k, k) with sum 1, point-symmetric about its middle: about a pixel for an odd k, between
four pixels for an even one. Its shapes follow Real-ESRGAN (https://arxiv.org/abs/2107.10833, section 3.1), motion is
a straight one seen by pixels of finite size.

To blur, weights are rounded to whole 65536ths that still add up to one. Sums of products with uint8 pixels are then
whole numbers, which no order of summing, BLAS, thread count or Fourier transform can change once they are rounded to
the nearest: the pixels are the same on every machine (tried with the code paths of processors from 2008 on). The
rounding of weights moves a pixel by a few hundredths of a level. Beyond the image lies its mirror image, as in
sr_core.data.resize.

Two algorithms do the sums: a Fourier transform of tiles where every pixel is wanted (its time does not depend on k),
a matrix product of blocks where only every S-th is. On one core, for 2.8 megapixels and k = 21, the first took 0.17 s
and the second 0.04 s at x4; decoding such a PNG took 0.10 s.
"""

import math

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]

_ONE = 2**16  # 255 of these and a half still have a float32 of their own
_TILE = 128  # side of what is transformed at once: stays in the L2 cache
_BLOCK = 4  # a block is so many output pixels high and wide
_BLOCK_ROWS = 8  # rows of blocks multiplied at once
_PRODUCT = 2**15  # rows x columns of the left matrix of a product: OpenBLAS leaves so small ones in this thread
_NODES = 256  # of the sum for J1: exact to 1e-12 for arguments below 200


def gaussian(size: int, sigma_x: float, sigma_y: float, angle: float) -> Kernel:
    """Standard deviations in pixels along two axes at right angles, the first turned by `angle` radians from x."""
    return _normalised(np.exp(-0.5 * _distance(size, sigma_x, sigma_y, angle)))


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> Kernel:
    """Flatter than a Gaussian with sharper edges for beta > 1, more pointed with longer tails below."""
    with np.errstate(over="ignore"):
        return _normalised(np.exp(-0.5 * _distance(size, sigma_x, sigma_y, angle) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> Kernel:
    """1 / (1 + d^beta), where d is what the Gaussian has in its exponent: a flat top and long tails."""
    with np.errstate(over="ignore"):
        return _normalised(1 / (1 + _distance(size, sigma_x, sigma_y, angle) ** beta))


def motion(size: int, length: float, angle: float, width: float) -> Kernel:
    """A straight and even motion over `length` pixels, blurred by a round Gaussian of standard deviation `width`."""
    along, across = _turned(size, angle)
    ends = [(along + sign * length / 2) / (width * math.sqrt(2)) for sign in (1, -1)]
    passed = np.array([math.erf(a) - math.erf(b) for a, b in zip(ends[0].flat, ends[1].flat, strict=True)])
    return _normalised(passed.reshape(size, size) * np.exp(-0.5 * (across / width) ** 2))


def sinc(size: int, cutoff: float) -> Kernel:
    """The ideal round low-pass filter, cut off at `cutoff` radians per pixel (pi: nothing), then at `size` pixels."""
    x, y = _turned(size, 0.0)
    radius, where = np.unique(np.sqrt(x**2 + y**2), return_inverse=True)
    ring = np.where(radius == 0, cutoff / 2, _bessel_j1(cutoff * radius) / np.where(radius == 0, 1, radius))
    return _normalised(ring[where].reshape(size, size))


def blurred(image: NDArray[np.uint8], kernel: Kernel) -> NDArray[np.uint8]:
    """(H, W, 3) -> (H, W, 3), rounded half up and clipped. `kernel` has an odd size."""
    size = len(kernel)
    assert size % 2, size
    around = size // 2
    step = _TILE - size + 1
    spectrum = np.conj(np.fft.rfft2(_whole(kernel), (_TILE, _TILE)))
    out = np.empty_like(image)
    for top in range(0, len(image), step):
        rows = _with_mirror(
            image,
            range(top - around, min(top + step, len(image)) + around),
            range(-around, image.shape[1] + around),
        )
        for left in range(0, image.shape[1], step):
            tile = rows[:, left : left + _TILE].transpose(2, 0, 1)  # (h, w, 3) -> (3, h, w)
            sums = np.fft.irfft2(np.fft.rfft2(tile, (_TILE, _TILE)) * spectrum, (_TILE, _TILE))
            place = out[top : top + step, left : left + step]
            place[:] = _rounded(np.rint(sums[:, : place.shape[0], : place.shape[1]])).transpose(1, 2, 0)
    return out


def decimated(image: NDArray[np.uint8], kernel: Kernel, scale: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (H // scale, W // scale, 3): the blurred image at the middle of every `scale` x `scale` pixels.

    That middle is where MATLAB's bicubic has its pixels as well. `kernel` has no negative weight, and a size which is
    odd or even as `scale` is. H and W are multiples of `scale`.
    """
    size = len(kernel)
    assert (size - scale) % 2 == 0, (size, scale)
    assert kernel.min() >= 0
    height, width = image.shape[0] // scale, image.shape[1] // scale
    matrices = _block_matrices(kernel, scale)
    before = (size - scale) // 2  # negative for a kernel smaller than the scale
    rows, columns = _BLOCK * _BLOCK_ROWS, _BLOCK * max(1, _PRODUCT // matrices.shape[2])
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            place = out[top : top + rows, left : left + columns]
            place[:] = _sums_of_blocks(image, top * scale - before, left * scale - before, matrices, place.shape)
    return out


def _turned(size: int, angle: float) -> tuple[Kernel, Kernel]:
    """Each tap's place from the middle, along `angle` and across it."""
    place = np.arange(size) - (size - 1) / 2
    x, y = place[None, :], place[:, None]
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _distance(size: int, sigma_x: float, sigma_y: float, angle: float) -> Kernel:
    """The squared distance from the middle in standard deviations."""
    along, across = _turned(size, angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _normalised(kernel: Kernel) -> Kernel:
    kernel = (kernel + kernel[::-1, ::-1]) / 2  # point-symmetric to the last bit
    return np.asarray(kernel / kernel.sum())


def _bessel_j1(x: Kernel) -> Kernel:
    """J1 by its integral, the mean of cos(t - x sin t) over a turn: on even nodes exact once they outnumber x."""
    turn = 2 * np.pi * np.arange(_NODES) / _NODES
    return np.asarray(np.cos(turn - x[:, None] * np.sin(turn)).mean(axis=1))


def _whole(kernel: Kernel) -> Kernel:
    """`kernel` in whole 65536ths, with sum 65536 and still point-symmetric."""
    weights = np.rint(kernel * _ONE)
    missing = _ONE - weights.sum()
    first, last = (len(kernel) - 1) // 2, len(kernel) // 2
    weights[first, first] += missing // 2  # an even size misses an even number, its weights being pairs
    weights[last, last] += missing - missing // 2
    return weights


def _with_mirror(image: NDArray[np.uint8], rows: range, columns: range) -> NDArray[np.uint8]:
    """These rows and columns of `image`, which may lie beyond it."""
    height, width, _ = image.shape
    part: NDArray[np.uint8] = image[_inside(np.array(rows), height)]
    return np.take(part, _inside(np.array(columns), width), axis=1)


def _inside(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    places = places % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def _sums_of_blocks(
    image: NDArray[np.uint8], top: int, left: int, matrices: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """The pixels of `shape` (h, w, 3) whose sums begin at row `top` and column `left` of `image`."""
    reach, _, pixels, _ = matrices.shape
    side = math.isqrt(pixels)
    rows, columns = -(-shape[0] // _BLOCK), -(-shape[1] // _BLOCK)
    high, wide = rows + reach - 1, columns + reach - 1
    part = _with_mirror(image, range(top, top + high * side), range(left, left + wide * side))
    turned = part.reshape(high, side, wide, side, 3).transpose(4, 0, 2, 1, 3)
    blocks = turned.astype(np.float32, order="C").reshape(3, high, wide, pixels)
    sums = np.zeros((3, rows, columns, _BLOCK * _BLOCK), np.float32)
    for down in range(reach):
        for right in range(reach):
            sums += blocks[:, down : down + rows, right : right + columns] @ matrices[down, right]
    out = _rounded(sums).reshape(3, rows, columns, _BLOCK, _BLOCK).transpose(1, 3, 2, 4, 0)
    return out.reshape(rows * _BLOCK, columns * _BLOCK, 3)[: shape[0], : shape[1]]


def _rounded(sums: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.uint8]:
    """Whole 65536ths as uint8, rounded half up and clipped; `sums` is overwritten."""
    sums += _ONE / 2
    sums *= 1 / _ONE
    return np.floor(sums, out=sums).clip(0, 255, out=sums).astype(np.uint8)


def _block_matrices(kernel: Kernel, scale: int) -> NDArray[np.float32]:
    """(reach, reach, side², block²): what the pixels of a block and of the blocks after it give to its outputs."""
    size, side = len(kernel), _BLOCK * scale
    reach = -(-(size + scale * (_BLOCK - 1)) // side)
    spread = np.zeros((reach * side, reach * side, _BLOCK, _BLOCK), np.float32)
    for i in range(_BLOCK):
        for j in range(_BLOCK):
            spread[i * scale : i * scale + size, j * scale : j * scale + size, i, j] = _whole(kernel)
    blocks = spread.reshape(reach, side, reach, side, -1).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks).reshape(reach, reach, side * side, _BLOCK * _BLOCK)

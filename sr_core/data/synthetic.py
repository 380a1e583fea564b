"""Degradations made here: the `unknown` and `second_order` LR images of photographs that have none of their own.

`unknown` is one blur, a Gaussian or a motion, and a decimation, as Bell-Kligler et al. made DIV2KRK
(https://arxiv.org/abs/1909.06581, section 5), without the noise in their kernels. Its LR pixels lie where bicubic's do.

`second_order` is Wang et al.'s Real-ESRGAN (https://arxiv.org/abs/2107.10833, section 3): blur, resize, noise, JPEG,
once more, and a sinc filter before or after the last JPEG. It departs from the authors' code in three places: shrinking
is antialiased, as photographs are shrunk; there are 8 bits between the steps, which memory for 40 megapixels asks for;
and HR is not sharpened first. BSRGAN (https://arxiv.org/abs/2103.14006) takes the same steps in random order.

The pixels depend on seed, key, track, variant and the HR image alone. Random bits come raw from Philox, a stream of its
own for the parameters and for each round of noise. Noise is looked up in tables of quantiles and rounded to whole
levels at random: that is exact, and faster than NumPy's generators, whose streams NumPy does not promise to keep. An
image passes in strips of a fixed height, in bounded memory.
"""

import dataclasses
import functools
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.data import kernels
from sr_core.data.images import through_jpeg
from sr_core.data.resize import crop_to_multiple
from sr_core.degradation_params import SecondOrderParams, Span, StageParams, UnknownParams
from sr_core.params import DataParams

VERSION = 1  # raise it with every change of a pixel: shards of another version are built again

Pixels = NDArray[np.uint8]  # (H, W, 3)
T = TypeVar("T")

_STRIP_ROWS = 256  # of the larger image at once, about
_NOISE_ROWS = 16  # that get noise at once: stays in the L2 cache
_JPEG_UNIT = 16  # rows and columns that are coded together, and apart from all others
_JPEG_SIDE = 65_488  # the largest image side that libjpeg takes is 65500
_QUANTILES = 2**12  # of a distribution of noise: a table of 2 MiB for Poisson's
_FINE = 16  # parts of a level in the tables; what remains of a 16-bit word decides how they are rounded
_PHOTONS = 256 / 255  # Real-ESRGAN's: mean counts per level of an image that uses more than 128 of its levels
_SUPPORT = {Image.Resampling.BOX: 0.5, Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0}
_SHAPES = {  # (shape, whether it is round): Real-ESRGAN's kernel_prob
    ("gaussian", True): 0.45,
    ("gaussian", False): 0.25,
    ("generalized_gaussian", True): 0.12,
    ("generalized_gaussian", False): 0.03,
    ("plateau", True): 0.12,
    ("plateau", False): 0.03,
}
_SMALLEST_KERNEL = 7  # Real-ESRGAN's kernels have 7, 9, ... 21 pixels
_MIDDLE_KERNEL = 13  # from here on its sinc filters may be wider
_PARAMETERS, _FIRST_NOISE, _SECOND_NOISE = 0, 1, 2  # streams


class Random:
    """Draws from raw bits. The same key and stream give the same draws, for ever."""

    def __init__(self, key: bytes, stream: int = _PARAMETERS) -> None:
        self._key = key
        words = np.frombuffer(key[:16], "<u8").astype(np.uint64)
        self._philox = np.random.Philox(key=words, counter=np.array([0, 0, 0, stream], np.uint64))

    def stream(self, number: int) -> "Random":
        """The stream `number` of the same key, from its beginning."""
        return Random(self._key, number)

    def uniform(self, span: Span) -> float:
        """A number between least and most."""
        least, most = span
        return least + (most - least) * (int(self._philox.random_raw()) >> 11) * 2.0**-53

    def chance(self, probability: float) -> bool:
        """Whether something with this probability happens."""
        return self.uniform((0.0, 1.0)) < probability

    def choice(self, things: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of `things`, all equally probable or by weights that add up to one."""
        left = self.uniform((0.0, 1.0))
        for thing, weight in zip(things, weights or [1 / len(things)] * len(things), strict=True):
            left -= weight
            if left < 0:
                return thing
        return things[-1]

    def words(self, count: int) -> NDArray[np.uint16]:
        """`count` numbers below 65536; the draws go on at the next multiple of four."""
        return self._philox.random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]


def random_for(seed: int, key: str, track: str, variant: int) -> Random:
    """The draws of one degraded version of the image `key`."""
    return Random(hashlib.sha256(json.dumps([seed, key, track, variant]).encode()).digest())


def recipe(track: str, params: DataParams, variant: int = 0) -> dict[str, Any]:
    """All that determines the pixels of a synthetic track besides image, key and scale, for a digest."""
    return {
        "track": track,
        "version": VERSION,
        "seed": params.degradation_seed,
        "variant": variant,
        "ranges": dataclasses.asdict(params.unknown if track == "unknown" else params.second_order),
    }


def unknown(hr: Pixels, scale: int, ranges: UnknownParams, random: Random) -> Pixels:
    """(H, W, 3) -> (H // scale, W // scale, 3)."""
    return kernels.decimated(crop_to_multiple(hr, scale), unknown_kernel(scale, ranges, random), scale)


def unknown_kernel(scale: int, ranges: UnknownParams, random: Random) -> kernels.Kernel:
    """The kernel of one image, centred on a pixel for an odd `scale`, between four for an even one."""
    size = ranges.kernel_size + (ranges.kernel_size + scale) % 2
    if random.chance(ranges.motion_probability):
        # across the motion, a pixel sees a square of HR pixels: a Gaussian as wide
        return kernels.motion(
            size, random.uniform(ranges.motion_length), random.uniform((0.0, math.pi)), scale / math.sqrt(12)
        )
    sigmas = random.uniform(ranges.gaussian_sigma), random.uniform(ranges.gaussian_sigma)
    return kernels.gaussian(size, *sigmas, random.uniform((0.0, math.pi)))


def second_order(hr: Pixels, scale: int, ranges: SecondOrderParams, random: Random) -> Pixels:
    """(H, W, 3) -> (H // scale, W // scale, 3)."""
    hr = crop_to_multiple(hr, scale)
    size = hr.shape[0] // scale, hr.shape[1] // scale
    sizes = range(min(_SMALLEST_KERNEL, ranges.kernel_size), ranges.kernel_size + 1, 2)
    image = _stage(hr, (hr.shape[0], hr.shape[1]), ranges.first, sizes, random, random.stream(_FIRST_NOISE))
    _code(image, ranges.first, random)
    image = _stage(image, size, ranges.second, sizes, random, random.stream(_SECOND_NOISE))
    jpeg_last = random.chance(0.5)
    if not jpeg_last:
        _code(image, ranges.second, random)
    resample = random.choice(tuple(_SUPPORT))
    image = np.concatenate([strip for _, strip in _resized(image, None, size, resample)])
    if random.chance(ranges.final_sinc_probability):
        cutoff = random.uniform((math.pi / 3, math.pi))
        image = kernels.blurred(image, kernels.sinc(random.choice(sizes), cutoff))
    if jpeg_last:
        _code(image, ranges.second, random)
    return image


def _stage(
    image: Pixels, size: tuple[int, int], stage: StageParams, sizes: Sequence[int], random: Random, bits: Random
) -> Pixels:
    """Blur, resize to `size` times what is drawn, and noise."""
    kernel = _kernel(stage, sizes, random) if random.chance(stage.blur_probability) else None
    least, most = stage.resize_scale
    up, down = stage.resize_up_probability, stage.resize_down_probability
    spans = (1.0, max(1.0, most)), (min(1.0, least), 1.0), (1.0, 1.0)
    factor = random.uniform(random.choice(spans, (up, down, 1 - up - down)))
    height, width = (max(1, round(side * factor)) for side in size)
    add_noise = _noise(stage, random, bits)
    out = np.empty((height, width, 3), np.uint8)
    for rows, strip in _resized(image, kernel, (height, width), random.choice(tuple(_SUPPORT))):
        place = out[rows]
        for top in range(0, len(strip), _NOISE_ROWS):
            place[top : top + _NOISE_ROWS] = add_noise(strip[top : top + _NOISE_ROWS])
    return out


def _kernel(stage: StageParams, sizes: Sequence[int], random: Random) -> kernels.Kernel:
    size = random.choice(sizes)
    if random.chance(stage.sinc_probability):
        return kernels.sinc(size, random.uniform((math.pi / (3 if size < _MIDDLE_KERNEL else 5), math.pi)))
    shape, is_round = random.choice(tuple(_SHAPES), tuple(_SHAPES.values()))
    sigma = random.uniform(stage.blur_sigma)
    form = (sigma, sigma, 0.0)
    if not is_round:
        form = (sigma, random.uniform(stage.blur_sigma), random.uniform((0.0, math.pi)))
    if shape == "generalized_gaussian":
        return kernels.generalized_gaussian(size, *form, random.uniform(stage.generalized_beta))
    if shape == "plateau":
        return kernels.plateau(size, *form, random.uniform(stage.plateau_beta))
    return kernels.gaussian(size, *form)


def _resized(
    image: Pixels, kernel: kernels.Kernel | None, size: tuple[int, int], resample: Image.Resampling
) -> Iterator[tuple[slice, Pixels]]:
    """Rows of `image`, blurred and resized to `size`, strip by strip: which rows, and their pixels."""
    height, width, _ = image.shape
    ratio = height / size[0]
    step = max(1, round(_STRIP_ROWS / max(1.0, ratio)))
    for top in range(0, size[0], step):
        bottom = min(top + step, size[0])
        margin = math.ceil(_SUPPORT[resample] * max(1.0, ratio)) + 1
        first, last = max(0, int(top * ratio) - margin), min(height, math.ceil(bottom * ratio) + margin)
        part = Image.fromarray(_blurred(image, kernel, first, last))
        box = (0, top * ratio - first, width, min(bottom * ratio, height) - first)
        yield slice(top, bottom), np.asarray(part.resize((size[1], bottom - top), resample, box=box))


def _blurred(image: Pixels, kernel: kernels.Kernel | None, first: int, last: int) -> Pixels:
    if kernel is None:
        return image[first:last]
    start = max(0, first - len(kernel) // 2)
    return kernels.blurred(image[start : last + len(kernel) // 2], kernel)[first - start : last - start]


def _noise(stage: StageParams, random: Random, bits: Random) -> Callable[[Pixels], Pixels]:
    """What adds noise to one strip after the other: normal or Poisson's, of each channel or the same for all."""
    is_normal = random.chance(stage.gaussian_noise_probability)
    strength = random.uniform(stage.gaussian_noise if is_normal else stage.poisson_scale)
    channels = 1 if random.chance(stage.grey_noise_probability) else 3
    noise = (_normal_quantiles() if is_normal else _poisson_noise()) * (strength * _FINE)
    table = np.rint(noise).clip(-255 * _FINE, 255 * _FINE).astype(np.int16)

    def add(strip: Pixels) -> Pixels:
        words = bits.words(strip.shape[0] * strip.shape[1] * channels).reshape(*strip.shape[:2], channels)
        place = (words // _FINE).astype(np.int32)
        if not is_normal:
            light = strip if channels == 3 else np.asarray(Image.fromarray(strip).convert("L"))[:, :, None]
            place += light * np.int32(_QUANTILES)
        levels = (table.take(place) + (words % _FINE).astype(np.int16)) // _FINE
        noisy: Pixels = (strip + levels).clip(0, 255).astype(np.uint8)
        return noisy

    return add


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """(_QUANTILES,) equally probable values of the standard normal distribution."""
    quantile = statistics.NormalDist().inv_cdf
    return np.array([quantile((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)], np.float32)


@functools.cache
def _poisson_noise() -> NDArray[np.float32]:
    """(256 * _QUANTILES,): for each level of light the noise of equally probable counts, in levels."""
    light = np.arange(256)
    mean = np.maximum(light * _PHOTONS, 1e-9)[:, None]
    counts = np.arange(512)  # the largest mean is 256, its deviation 16
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    below = np.exp(counts * np.log(mean) - mean - log_factorial).cumsum(axis=1)
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    drawn = np.array([np.searchsorted(row, quantiles) for row in below])
    return (drawn / _PHOTONS - light[:, None]).astype(np.float32).reshape(-1)


def _code(image: Pixels, stage: StageParams, random: Random) -> None:
    """Replaces `image` by what is left of it after JPEG, strip by strip with what the strips' edges depend on."""
    quality = round(random.uniform(stage.jpeg_quality))
    above = image[:0]
    for top in range(0, len(image), _STRIP_ROWS):
        bottom = top + _STRIP_ROWS
        strip = np.concatenate([above, image[top : bottom + _JPEG_UNIT]])
        kept = slice(len(above), len(above) + _STRIP_ROWS)
        above = image[bottom - _JPEG_UNIT : bottom].copy()
        for left in range(0, image.shape[1], _JPEG_SIDE):
            columns = slice(left, left + _JPEG_SIDE)
            image[top:bottom, columns] = through_jpeg(strip[:, columns], quality)[kept]

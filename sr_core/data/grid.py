"""Where patches are cut from an image: pure geometry.

A stored patch of side P is larger than a crop of side c. Patches lie at most P - c apart, so that every crop
of the image lies inside some patch and can be drawn. The price is that pixels are stored about (P / (P - c))²
times: P is the smallest with at most three times, unless the smallest image is smaller still.
"""

import math
from collections import Counter
from collections.abc import Iterable

STORED_AT_MOST = 3.0  # stored / raw pixels that the patch side aims at
STORED_LIMIT = 16.0  # stored / raw pixels that are refused: P hardly larger than c


def patch_side(*, crop: int, scale: int, sizes: Iterable[tuple[int, int]], wanted: int | None = None) -> int:
    """The side of stored patches in HR pixels, a multiple of `scale`.

    `crop` is in LR pixels, `sizes` are (H, W) of all HR images, `wanted` replaces the rule above.
    """
    sizes = list(sizes)
    largest = min(map(min, sizes)) // scale * scale
    if wanted is not None:
        return min(wanted, largest)
    root = math.sqrt(STORED_AT_MOST)
    unit = 8 * scale
    first = min(math.ceil(crop * scale * root / (root - 1) / unit) * unit, largest)
    # images little larger than a patch take four of them each: a larger patch then stores less
    sides = [*range(first, largest, unit), largest]
    stored = (stored_per_raw(sizes, patch=side, crop=crop, scale=scale) for side in sides)
    return next((side for side, ratio in zip(sides, stored, strict=True) if ratio <= STORED_AT_MOST), first)


def stored_per_raw(sizes: Iterable[tuple[int, int]], *, patch: int, crop: int, scale: int) -> float:
    """HR pixels in patches per HR pixel of images of `sizes` (H, W); `patch` in HR pixels, `crop` in LR pixels."""
    stored = raw = 0
    for (height, width), count in Counter(sizes).items():
        down, across = (len(offsets(length // scale, patch=patch // scale, crop=crop)) for length in (height, width))
        stored += count * down * across * patch * patch
        raw += count * height * width
    return stored / raw


def offsets(length: int, *, patch: int, crop: int) -> tuple[int, ...]:
    """Where patches start along a side of `length`, evenly spread; all in LR pixels.

    Consecutive patches start at most max(1, patch - crop) apart, the last one ends at `length`.
    """
    assert crop <= patch <= length, (crop, patch, length)
    room = length - patch
    steps = math.ceil(room / max(1, patch - crop))
    return tuple((2 * room * i + steps) // (2 * steps) for i in range(steps + 1)) if steps else (0,)

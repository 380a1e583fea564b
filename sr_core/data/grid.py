"""Where patches are cut from an image: pure geometry.

A stored patch of side P is larger than a crop of side c. Patches lie at most P - c apart, so that every crop
of the image lies inside some patch and can be drawn. The price is that pixels are stored (P / (P - c))² times:
P is the smallest with at most three times, unless the smallest image is smaller still.
"""

import math

STORED_AT_MOST = 3.0  # stored / raw pixels that the patch side aims at
STORED_LIMIT = 16.0  # stored / raw pixels that are refused: P hardly larger than c


def patch_side(*, crop: int, scale: int, smallest: int, wanted: int | None = None) -> int:
    """The side of stored patches in HR pixels, a multiple of `scale`.

    `crop` is in LR pixels, `smallest` is the smallest side of any HR image, `wanted` replaces the rule above.
    """
    side = crop * scale
    if wanted is None:
        root = math.sqrt(STORED_AT_MOST)
        unit = 8 * scale
        wanted = math.ceil(side * root / (root - 1) / unit) * unit
    return min(wanted, smallest // scale * scale)


def offsets(length: int, *, patch: int, crop: int) -> tuple[int, ...]:
    """Where patches start along a side of `length`, evenly spread; all in LR pixels.

    Consecutive patches start at most max(1, patch - crop) apart, the last one ends at `length`.
    """
    assert crop <= patch <= length, (crop, patch, length)
    room = length - patch
    steps = math.ceil(room / max(1, patch - crop))
    return tuple((2 * room * i + steps) // (2 * steps) for i in range(steps + 1)) if steps else (0,)

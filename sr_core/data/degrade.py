"""The LR image of an HR image: the data set's own file where there is one, made here otherwise.

DIV2K's mild, difficult and wild LR images are shifted by some pixels against HR. `data.align` moves them back by whole
LR pixels, found by correlation with the bicubic LR image; what is left is less than a pixel.
"""

import dataclasses
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sr_core.data import align, synthetic
from sr_core.data.images import read_rgb
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import bicubic_down, crop_to_multiple
from sr_core.errors import ImageError, SourceError
from sr_core.files import digest_of
from sr_core.params import SHIFTED, DataParams

ALIGNMENT = 1  # raise it when other shifts are found: shards are built again

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LrImage:
    """An LR image (H // scale, W // scale, 3), and the shift (dy, dx) in LR pixels that was undone."""

    pixels: Image
    shift: tuple[int, int] | None = None


def lr_of(pair: ImagePair, hr: Image | None, params: DataParams, track: str, variant: int = 0) -> Image:
    """The (H // scale, W // scale, 3) LR image of `pair`, whose HR image is `hr` (H, W, 3); None: not decoded yet.

    Raises:
        ImageError: a file cannot be decoded.
        SourceError: there is no LR file, and `track` cannot be made here.
    """
    return degraded(pair, hr, params, track, variant).pixels


def degraded(pair: ImagePair, hr: Image | None, params: DataParams, track: str, variant: int = 0) -> LrImage:
    """As `lr_of`, and the shift that was undone."""
    if hr is None and needs_hr(pair, params, track):
        hr = read_rgb(pair.hr, max_pixels=params.max_pixels)
    if track not in pair.lr:
        assert hr is not None
        return LrImage(pixels=_made_here(pair, crop_to_multiple(hr, params.scale), params, track, variant))
    path = pair.lr[track][variant]
    pixels = read_rgb(path, max_pixels=params.max_pixels)
    if hr is None or not needs_hr(pair, params, track):
        return LrImage(pixels=pixels)
    reference = bicubic_down(hr, params.scale)
    if pixels.shape != reference.shape:
        raise ImageError(f"{path}: is of another size than {pair.hr} / {params.scale}; replace it by the right one")
    shift = align.shift(pixels, reference)
    return LrImage(pixels=align.shifted(pixels, shift), shift=shift)


def needs_hr(pair: ImagePair, params: DataParams, track: str) -> bool:
    """Whether the HR image must be decoded for an LR image."""
    return track not in pair.lr or (params.align and track in SHIFTED)


def recipe_digest(params: DataParams, track: str) -> str:
    """The sha256 of all parameters that decide the pixels of LR images made or moved here; empty: none do."""
    recipe: Any = None
    if track in SHIFTED:
        recipe = {"align": ALIGNMENT, "limit": align.LIMIT} if params.align else None
    elif track != "bicubic":
        recipe = synthetic.recipe(track, params)
    return "" if recipe is None else digest_of(recipe)


def num_variants(pair: ImagePair, params: DataParams, track: str) -> int:
    """How many LR images of `track` an HR image for training has."""
    if track in pair.lr:
        return len(pair.lr[track])
    return 1 if track == "bicubic" else params.variants


def _made_here(pair: ImagePair, hr: Image, params: DataParams, track: str, variant: int) -> Image:
    if track == "bicubic":
        return bicubic_down(hr, params.scale, border="mirror")
    random = synthetic.random_for(params.degradation_seed, pair.key, track, variant)
    if track == "unknown":
        return synthetic.unknown(hr, params.scale, params.unknown, random)
    if track == "second_order":
        return synthetic.second_order(hr, params.scale, params.second_order, random)
    raise SourceError(f"{pair.hr}: has no LR file, and data.degradation {track} cannot be made here")

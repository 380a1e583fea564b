"""Pixels of 16-bit PNG and TIFF files at full depth: Pillow cuts those with several channels to 8 bits.

The only module of the library that uses imagecodecs (libpng) and tifffile, which are not part of a core install.

Shapes: H W size, N channels as the file has them (grey or RGB, and alpha).
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_core.data.images import ImageFile, check_size
from sr_core.data.metadata import ORIENTATION
from sr_core.data.policy import UPSCALING
from sr_core.errors import ImageError

_INSTALL = "pip install 'sr-pipeline[serve]'"
_PROFILE = 34675
_MULTIPLIED = 1  # the kind of alpha


def read_png(file: ImageFile) -> NDArray[Any]:
    """(H, W, N); a transparent colour has become alpha.

    Raises:
        ImageError: imagecodecs is not installed.
        ValueError: the file is damaged.
    """
    try:
        import imagecodecs
    except ImportError:
        raise _absent(file, "imagecodecs") from None
    with file.mapped() as data:
        pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def read_tiff(file: ImageFile, max_pixels: int) -> tuple[NDArray[Any], int, bytes | None]:
    """(H, W, N), not yet turned upright, the orientation, and the colour profile.

    Raises:
        ImageError: tifffile is not installed, or it is of a kind that has no reading as grey or RGB.
        ValueError: the file is damaged.
    """
    try:
        import imagecodecs  # noqa: F401  # tifffile decompresses by it
        import tifffile
    except ImportError:
        raise _absent(file, "tifffile") from None
    logging.getLogger(tifffile.__name__).setLevel(
        logging.CRITICAL
    )  # what it warns of, for each odd tag, is checked here
    with file.open() as stream, tifffile.TiffFile(stream) as opened:
        page: Any = opened.pages[0]
        check_size(file, page.imagewidth, page.imagelength, UPSCALING, max_pixels)
        _check_page(page, file)
        pixels: NDArray[Any] = page.asarray(maxworkers=1)
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, 2)
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels[:, :, 0] = 65535 - pixels[:, :, 0]
        if _MULTIPLIED in page.extrasamples:
            pixels = _divided(pixels)
        orientation, profile = (page.tags.valueof(tag) for tag in (ORIENTATION, _PROFILE))
        return pixels, orientation or 1, profile


def _check_page(page: Any, file: ImageFile) -> None:
    num_colours = 3 if page.photometric == 2 else 1
    kind = (page.dtype, page.bitspersample, page.samplesperpixel - num_colours, page.imagedepth)
    if (
        page.photometric not in {0, 1, 2}
        or kind[0] != np.uint16
        or kind[1] != 16
        or kind[2] not in {0, 1}
        or kind[3] != 1
    ):
        raise ImageError(
            f"{file.name}: is a TIFF of a kind that is not read, expected grey or RGB; convert it to a PNG"
        )
    if len(page.extrasamples) != kind[2] or 0 in page.extrasamples:
        raise ImageError(f"{file.name}: has another channel of unknown meaning; convert it to a PNG")
    if page.is_tiled and page.tilewidth * page.tilelength > max(4 * page.imagewidth * page.imagelength, 1 << 24):
        raise ValueError(f"its tiles are of {page.tilewidth}x{page.tilelength} pixels")
    ends = [at + num for at, num in zip(page.dataoffsets, page.databytecounts, strict=True)]
    # a part that is not there would be read as black
    if not ends or min(page.dataoffsets) <= 0 or min(page.databytecounts) <= 0 or max(ends) > file.size_bytes:
        raise ValueError("parts of it are missing")
    if len(ends) != int(np.prod(page.chunked)):
        raise ValueError(f"it has {len(ends)} parts, expected {int(np.prod(page.chunked))}")


def _divided(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, N) whose colours are no longer multiplied by alpha, rounded."""
    alpha = np.maximum(pixels[:, :, -1:], 1).astype(np.float64)
    colours = np.minimum(pixels[:, :, :-1] * 65535.0 / alpha + 0.5, 65535)
    return np.concatenate((colours.astype(np.uint16), pixels[:, :, -1:]), axis=2)


def _absent(file: ImageFile, package: str) -> ImageError:
    return ImageError(f"{file.name}: has 16 bits per channel, which only {package} reads at full depth: {_INSTALL}")

"""Pictures as files hold them, for upscaling: grey, alpha, 16 bits, profile and EXIF are kept.

Shapes: H W size, C channels (1 grey, 3 RGB).
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.data import images
from sr_core.data.policy import MAX_PIXELS
from sr_core.errors import ImageError

FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}  # by suffix


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What an image file shows, upright, and what it says of its colours and of how it was taken."""

    pixels: NDArray[Any]  # (H, W, C) uint8 or uint16
    alpha: NDArray[Any] | None = None  # (H, W), of the same type
    icc: bytes | None = None  # the colour profile
    exif: bytes | None = None  # without the orientation, which has been applied


def read_picture(source: Path | bytes, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the file, or in the file's bytes; `name` is what errors call it.

    Raises:
        ImageError: it cannot be decoded, would lose something without a word, or has more than `max_pixels` pixels.
    """
    if isinstance(source, bytes):
        raise ImageError(f"{name}: bytes are not read yet")
    return Picture(pixels=images.read_rgb(source, max_pixels=max_pixels))


def encode_picture(picture: Picture, format: str) -> bytes:
    """`picture` as a file of `format`: png, jpg, webp or tiff, all of them lossless but jpg.

    Raises:
        ImageError: the format cannot hold it.
    """
    buffer = io.BytesIO()
    pixels = picture.pixels[:, :, 0] if picture.pixels.shape[2] == 1 else picture.pixels
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=FORMATS[format])
    return buffer.getvalue()

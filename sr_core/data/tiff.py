"""TIFF files written strip by strip, compressed by deflate: grey and colour, alpha, 8 and 16 bits.

Pillow cannot write 16-bit colour. TIFF 6.0; deflate is Adobe's technical note 3 to it.
Shapes: H W size, C channels (1 grey, 3 RGB).
"""

import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from sr_core.data import metadata
from sr_core.data.png import LEVEL, strip_of

MAX_BYTES = 2**32 - 2**24  # places in the file are 32-bit numbers
_STRIP_BYTES = 1 << 20
_DEFLATE, _PREDICTED, _UNASSOCIATED = 8, 2, 2
_LONG = 4  # the type


def write(
    file: IO[bytes],
    pixels: NDArray[Any],
    alpha: NDArray[Any] | None = None,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Writes `pixels` (H, W, C), uint8 or uint16, and `alpha` (H, W) of the same type into a file that can seek."""
    height, width, channels = pixels.shape
    samples = channels + (alpha is not None)
    rows = max(1, _STRIP_BYTES // (width * samples * pixels.itemsize))
    tags: dict[int, Any] = {256: width, 257: height, 258: (8 * pixels.itemsize,) * samples, 259: _DEFLATE}
    tags |= {262: 2 if channels == 3 else 1, 277: samples, 278: rows, 284: 1, 317: _PREDICTED}
    if alpha is not None:
        tags[338] = _UNASSOCIATED
    if icc:
        tags[34675] = icc
    num = -(-height // rows)
    file.write(b"II*\0\x08\0\0\0")
    file.write(_directory(tags, [0] * num, [0] * num, exif))  # of the length that it will have
    start, lengths = file.tell(), []
    for top in range(0, height, rows):
        lengths.append(file.write(zlib.compress(_predicted(pixels, alpha, top, top + rows), LEVEL)))
    offsets = np.cumsum([0, *lengths[:-1]]).tolist()
    file.seek(8)
    directory = _directory(tags, offsets, lengths, exif)
    assert 8 + len(directory) == start
    file.write(directory)
    file.seek(0, 2)


def _predicted(pixels: NDArray[Any], alpha: NDArray[Any] | None, top: int, bottom: int) -> bytes:
    """Rows top..bottom-1 in which each pixel is the difference to the one at its left."""
    strip = strip_of(pixels, alpha, top, bottom)
    differences = strip.astype(strip.dtype.newbyteorder("<"))
    differences[:, 1:] -= strip[:, :-1]
    return differences.tobytes()


def _directory(tags: dict[int, Any], offsets: list[int], lengths: list[int], exif: bytes | None) -> bytes:
    """The tags as they follow a file's first 8 bytes; `offsets` count from their end."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    if exif:
        metadata.add_to_tiff(directory, exif)
    for tag, value in tags.items():
        directory[tag] = value
    for tag, values in ((273, offsets), (279, lengths)):
        directory.tagtype[tag] = _LONG
        directory[tag] = tuple(values)
    return directory.tobytes(8)

"""The only place that decodes images, by the table in sr_core/data/policy.py.

Pillow's convert("RGB") would collapse 16-bit grey to two levels, cut 16-bit colour to 8 bits and drop alpha without a
word: every kind of file is accepted or refused here by name. The EXIF orientation is applied; colour profiles are not.
How many pixels an image has is known, and limited, from its header.
"""

import contextlib
import dataclasses
import io
import mmap
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sr_core.data.policy import MAX_PIXELS, MODES
from sr_core.errors import ImageError, shown
from sr_core.files import write_atomic

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_CONVERT = "convert it to 8-bit RGB, or take it out"
_REPLACE = "replace it by a whole copy, or take it out"
_JPEG = frozenset({"JPEG", "MPO"})  # MPO: a JPEG with others behind it
_END_MARKS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}
_EXIF_ORIENTATION = 274
_TIFF_BITS_PER_SAMPLE = 258
_PNG_BIT_DEPTH_AT = 24
_TAIL_BYTES = 64 * 1024  # in which the EXIF of a PNG is looked for that has it behind its pixels
_STRIP_ROWS = 64
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """An image's sides in pixels as `read_rgb` would return it, and how its file holds it."""

    height: int
    width: int
    format: str  # Pillow's name: PNG, JPEG, …
    mode: str  # Pillow's name: RGB, L, …
    has_profile: bool  # a colour profile, which is not applied


def read_rgb(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image at `path` as (H, W, 3).

    Raises:
        ImageError: it cannot be decoded, has no true reading as 8-bit RGB, or more than `max_pixels` pixels.
    """
    with _opened(path, max_pixels) as image:
        turn = _TURNS.get(_orientation(path, image))
        if image.format in _JPEG:
            _check_jpeg(path)
        image.load()
        if image.has_transparency_data:
            return _pixels(_turned(_without_alpha(path, image).convert("RGB"), turn))
        return _pixels(_turned(image if image.mode == "RGB" else image.convert("RGB"), turn))


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of what `read_rgb` would return, from the header.

    Decoded are only images with alpha, and those whose file does not end in its format's end mark (TIFF, BMP and WebP
    have none): they may be truncated. JPEG may go on behind its end mark, which is then looked for.

    Raises:
        ImageError: as `read_rgb`, except for damage in the middle of a file.
    """
    header = read_header(path, max_pixels=max_pixels)
    return header.height, header.width


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """What is known of the image at `path` before it is decoded (see `read_size`).

    Raises:
        ImageError: as `read_size`.
    """
    with _opened(path, max_pixels) as image:
        width, height = image.size
        format, mode, profile = image.format or "?", image.mode, "icc_profile" in image.info
        turned = _orientation(path, image) >= 5
        if image.has_transparency_data:
            _without_alpha(path, image)
        elif image.format in _JPEG and not _ends_well(path, image.format):
            _check_jpeg(path)
        elif not _ends_well(path, image.format):
            image.load()
    height, width = (width, height) if turned else (height, width)
    return ImageHeader(height=height, width=width, format=format, mode=mode, has_profile=profile)


def read_small(path: Path, side: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image at `path` reduced to at most `side` x `side`, (h, w, 3): to look at, or for its brightness.

    JPEG is decoded at a fraction of its size, the others whole.

    Raises:
        ImageError: as `read_rgb`, though less damage is found.
    """
    with _opened(path, max_pixels) as image:
        turn = _TURNS.get(_orientation(path, image))
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.BOX)
        return _pixels(_turned(small, turn))


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes `image` (H, W, 3) to `path`, whole or not at all."""
    buffer = io.BytesIO()
    # level 3 takes half the time of Pillow's 6 and 6 % more bytes
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    write_atomic(path, buffer.getvalue())


def through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What is left of `image` (H, W, 3) after JPEG, with half as many colours as pixels along each side."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(buffer, formats=("JPEG",)) as decoded:
        return np.asarray(decoded)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """The image at `path`, its pixels not yet decoded; whatever Pillow meets becomes an ImageError."""
    try:
        if not path.is_file():  # a pipe would be waited for
            path.lstat()
            raise ImageError(f"{shown(path)}: is not a file, expected an image; take it out")
        with _pillow.left_to_us(), Image.open(path, formats=_FORMATS) as image:
            _check_size(path, image, max_pixels)
            _check_mode(path, image)
            _check_frames(path, image)
            yield image
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{shown(path)}: there is no such file") from None
    except UnidentifiedImageError:
        raise ImageError(f"{shown(path)}: is no PNG, JPEG, TIFF, BMP or WebP image; {_CONVERT}") from None
    except MemoryError:
        raise ImageError(f"{shown(path)}: memory does not suffice to decode it; take a smaller part of it") from None
    except Exception as error:  # Pillow's plug-ins raise what they meet: OSError, SyntaxError, struct.error, …
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{shown(path)}: cannot be read ({error.strerror})") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{shown(path)}: cannot be decoded ({reason}); {_REPLACE}") from None


class _Pillow:
    """Pillow's own limit of pixels and its warnings, which belong to the whole process, off while we decode."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = contextlib.ExitStack()

    @contextmanager
    def left_to_us(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._take_over()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._restore.close()

    def _take_over(self) -> None:
        # of odd metadata: what concerns pixels ends in an error
        self._restore.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        self._restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None


_pillow = _Pillow()


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{shown(path)}: is {width}x{height} pixels, more than data.max_pixels {max_pixels}; "
            "cut or shrink it, or raise data.max_pixels"
        )


def _check_mode(path: Path, image: Image.Image) -> None:
    rule = MODES.get(image.mode)
    if rule is None or rule.training == "refused":
        reason = "has no reading as RGB" if rule is None else rule.note
        raise ImageError(f"{shown(path)}: mode {image.mode} {reason}; {_CONVERT}")
    bits = _bits(path, image)
    if bits > 8:
        raise ImageError(f"{shown(path)}: has {bits} bits per channel, of which 8 would be lost; {_CONVERT}")


def _check_frames(path: Path, image: Image.Image) -> None:
    num = 1 if image.format in _JPEG else getattr(image, "n_frames", 1)
    if num > 1:
        raise ImageError(
            f"{shown(path)}: holds {num} pictures, of which only the first would be used; split it, or take it out"
        )


def _bits(path: Path, image: Image.Image) -> int:
    """Bits per channel; Pillow opens 16-bit RGB as if it had 8."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(_PNG_BIT_DEPTH_AT + 1)[_PNG_BIT_DEPTH_AT]
    tags: Any = getattr(image, "tag_v2", {})
    found = tags.get(_TIFF_BITS_PER_SAMPLE, 8)
    return max(found) if isinstance(found, tuple) else int(found)


def _without_alpha(path: Path, image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() != (255, 255):
        raise ImageError(
            f"{shown(path)}: mode {image.mode} with transparent pixels; flatten it onto a colour, or take it out"
        )
    return rgba


def _orientation(path: Path, image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied."""
    if image.format == "TIFF":  # Pillow applies it, also to `size`
        return 1
    # for a PNG without EXIF before its pixels, getexif() decodes the pixels to look behind them
    if (
        image.format == "PNG"
        and not {"exif", "Raw profile type exif"} & image.info.keys()
        and b"eXIf" not in _tail(path, _TAIL_BYTES)
    ):
        return 1
    found = image.getexif().get(_EXIF_ORIENTATION, 1)
    return found if found in _TURNS else 1


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3); by strips, as Pillow would make a second copy of the whole on the way."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        out[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return out


def _ends_well(path: Path, format: str | None) -> bool:
    mark = _END_MARKS.get(format or "")
    return mark is not None and _tail(path, len(mark)) == mark


def _tail(path: Path, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(num_bytes, path.stat().st_size), io.SEEK_END)
        return file.read()


# what may follow 0xFF: in coded pixels 0 (a pixel's own 0xFF) or a restart; else a marker that begins a segment
_CODED = re.compile(rb"\xff+([^\xff])")
_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_BEHIND_PIXELS = frozenset({0xC4, 0xCC, *range(0xD9, 0xDE), *range(0xE0, 0xF0), 0xFE})
_SCAN, _END, _RESTARTS = 0xDA, 0xD9, range(0xD0, 0xD8)


def _check_jpeg(path: Path) -> None:
    """Refuses coded pixels with bytes that no encoder writes: libjpeg only warns of them, to nobody."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"\xff", 2)
        while marker := _MARKER.search(data, at):
            code, at = data[marker.end() - 1], marker.end()
            if code == _END:
                return
            at += int.from_bytes(data[at : at + 2], "big")
            if code == _SCAN:
                at = _behind_scan(path, data, at)
    raise ImageError(f"{shown(path)}: cannot be decoded (it ends before its end mark); {_REPLACE}")


def _behind_scan(path: Path, data: mmap.mmap, start: int) -> int:
    """Where the marker lies that ends the coded pixels from `start` on."""
    num_restarts = 0
    for found in _CODED.finditer(data, start):
        code = data[found.end() - 1]
        if code in _RESTARTS:
            if code != _RESTARTS[num_restarts % len(_RESTARTS)]:
                raise ImageError(
                    f"{shown(path)}: is damaged at byte {found.start()} (a part of it is missing); {_REPLACE}"
                )
            num_restarts += 1
        elif code in _BEHIND_PIXELS:
            return found.start()
        elif code:
            raise ImageError(f"{shown(path)}: is damaged at byte {found.start()} (these bytes are no JPEG); {_REPLACE}")
    return len(data)

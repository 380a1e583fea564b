"""Where images are decoded, by the table in sr_core/data/policy.py: for training here, for upscaling in pictures.py.

Pillow's convert("RGB") would collapse 16-bit grey to two levels, cut 16-bit colour to 8 bits and drop alpha without a
word: every kind of file is accepted or refused here by name. The EXIF orientation is applied; colour profiles are not.
How many pixels an image has is known, and limited, from its header.
"""

import contextlib
import dataclasses
import io
import mmap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sr_core.data import jpeg, png
from sr_core.data.policy import MAX_PIXELS, MODES, TRAINING, Purpose
from sr_core.errors import ImageError, shown
from sr_core.files import write_atomic

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
JPEG = frozenset({"JPEG", "MPO"})  # MPO: a JPEG with others behind it
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


class UnknownKindError(ImageError):
    """Pillow knows no such image."""


class TooLargeError(ImageError):
    """An image has more pixels than are taken; `told` says how many, for readers whose limit has another name."""

    told = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """An image's sides in pixels as `read_rgb` would return it, and how its file holds it."""

    height: int
    width: int
    format: str  # Pillow's name: PNG, JPEG, …
    mode: str  # Pillow's name: RGB, L, …
    has_profile: bool  # a colour profile, which is not applied


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """A file, or the bytes of one."""

    content: Path | bytes
    name: str  # what errors call it

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Its bytes, to be read."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def head(self, num_bytes: int) -> bytes:
        """Its first bytes."""
        with self.open() as file:
            return file.read(num_bytes)

    def tail(self, num_bytes: int) -> bytes:
        """Its last bytes."""
        with self.open() as file:
            file.seek(-min(num_bytes, self.size_bytes), io.SEEK_END)
            return file.read()

    @contextmanager
    def mapped(self) -> "Iterator[bytes | mmap.mmap]":
        """All its bytes, of which memory holds only those that are looked at."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.open() as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def read_rgb(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image at `path` as (H, W, 3).

    Raises:
        ImageError: it cannot be decoded, has no true reading as 8-bit RGB, or more than `max_pixels` pixels.
    """
    file = _file(path)
    with opened(file, TRAINING, max_pixels) as image:
        turn = _TURNS.get(orientation(file, image))
        check_bytes(file, image, TRAINING)
        image.load()
        if image.has_transparency_data:
            return _pixels(_turned(_without_alpha(file, image).convert("RGB"), turn))
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
    file = _file(path)
    with opened(file, TRAINING, max_pixels) as image:
        width, height = image.size
        format, mode, profile = image.format or "?", image.mode, "icc_profile" in image.info
        turned = orientation(file, image) >= 5
        if image.has_transparency_data:
            _without_alpha(file, image)
        elif not _ends_well(file, image.format) and not check_bytes(file, image, TRAINING):
            image.load()
    height, width = (width, height) if turned else (height, width)
    return ImageHeader(height=height, width=width, format=format, mode=mode, has_profile=profile)


def read_small(path: Path, side: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image at `path` reduced to at most `side` x `side`, (h, w, 3): to look at, or for its brightness.

    JPEG is decoded at a fraction of its size, the others whole.

    Raises:
        ImageError: as `read_rgb`, though less damage is found.
    """
    file = _file(path)
    with opened(file, TRAINING, max_pixels) as image:
        turn = _TURNS.get(orientation(file, image))
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


def _file(path: Path) -> ImageFile:
    return ImageFile(content=path, name=shown(path))


@contextmanager
def opened(file: ImageFile, purpose: Purpose, max_pixels: int) -> Iterator[Image.Image]:
    """The image in `file`, its pixels not yet decoded.

    Raises:
        ImageError: the policy refuses it, or Pillow meets something, also later inside of this context.
    """
    name = file.name
    try:
        if isinstance(file.content, Path) and not file.content.is_file():  # a pipe would be waited for
            file.content.lstat()
            raise ImageError(f"{name}: is not a file, expected an image; {purpose.omit}")
        with _pillow.left_to_us(), file.open() as stream, Image.open(stream, formats=_FORMATS) as image:
            check_size(file, *image.size, purpose, max_pixels)
            _check_mode(file, image, purpose)
            _check_frames(file, image, purpose)
            yield image
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file") from None
    except UnidentifiedImageError:
        raise UnknownKindError(f"{name}: is no PNG, JPEG, TIFF, BMP or WebP image; {purpose.convert}") from None
    except MemoryError:
        raise ImageError(f"{name}: memory does not suffice to decode it; take a smaller part of it") from None
    except Exception as error:  # Pillow's plug-ins raise what they meet: OSError, SyntaxError, struct.error, …
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{name}: cannot be read ({error.strerror})") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: cannot be decoded ({reason}); {purpose.replace}") from None


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


def check_size(file: ImageFile, width: int, height: int, purpose: Purpose, max_pixels: int) -> None:
    """Refuses more than `max_pixels`.

    Raises:
        TooLargeError: with the sides.
    """
    if width * height > max_pixels:
        told = f"{file.name}: is {width}x{height} pixels"
        error = TooLargeError(f"{told}, more than data.max_pixels {max_pixels}; {purpose.shrink}")
        error.told = told
        raise error


def _check_mode(file: ImageFile, image: Image.Image, purpose: Purpose) -> None:
    rule = MODES.get(image.mode)
    if rule is None or rule.verdict(purpose) == "refused":
        reason = "has no reading as RGB" if rule is None else rule.reason(purpose)
        raise ImageError(f"{file.name}: mode {image.mode} {reason}; {purpose.convert}")
    bits = bits_of(file, image)
    if purpose is TRAINING and bits > 8:
        raise ImageError(f"{file.name}: has {bits} bits per channel, of which 8 would be lost; {purpose.convert}")


def _check_frames(file: ImageFile, image: Image.Image, purpose: Purpose) -> None:
    num = 1 if image.format in JPEG else getattr(image, "n_frames", 1)
    if num > 1:
        raise ImageError(
            f"{file.name}: holds {num} pictures, of which only the first would be used; split it, or {purpose.omit}"
        )


def bits_of(file: ImageFile, image: Image.Image) -> int:
    """Bits per channel; Pillow opens 16-bit RGB as if it had 8."""
    if image.format == "PNG":
        return file.head(_PNG_BIT_DEPTH_AT + 1)[_PNG_BIT_DEPTH_AT]
    tags: Any = getattr(image, "tag_v2", {})
    found = tags.get(_TIFF_BITS_PER_SAMPLE, 8)
    return max(found) if isinstance(found, tuple) else int(found)


def check_bytes(file: ImageFile, image: Image.Image, purpose: Purpose) -> bool:
    """Whether `image` is a JPEG or PNG, whose bytes are then looked through: Pillow lets some damage pass in silence.

    Raises:
        ImageError: a JPEG with coded pixels of bytes that no encoder writes, or a PNG with a wrong checksum.
    """
    damage = jpeg.damage if image.format in JPEG else png.damage if image.format == "PNG" else None
    if damage:
        with file.mapped() as data:
            if problem := damage(data):
                raise ImageError(f"{file.name}: {problem}; {purpose.replace}")
    return damage is not None


def _without_alpha(file: ImageFile, image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() != (255, 255):
        raise ImageError(
            f"{file.name}: mode {image.mode} with transparent pixels; flatten it onto a colour, or take it out"
        )
    return rgba


def orientation(file: ImageFile, image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied."""
    if image.format == "TIFF":  # Pillow applies it, also to `size`
        return 1
    # for a PNG without EXIF before its pixels, getexif() decodes the pixels to look behind them
    if (
        image.format == "PNG"
        and not {"exif", "Raw profile type exif"} & image.info.keys()
        and b"eXIf" not in file.tail(_TAIL_BYTES)
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


def _ends_well(file: ImageFile, format: str | None) -> bool:
    mark = _END_MARKS.get(format or "")
    return mark is not None and file.tail(len(mark)) == mark

"""Pictures as files hold them, for upscaling: grey, alpha, 16 bits, colour profile and EXIF are kept.

What is accepted stands in sr_core/data/policy.py. A large picture is written strip by strip where the format allows
(PNG, TIFF), so that beside the picture itself there is hardly anything in memory.

Shapes: H W size, C channels (1 grey, 3 RGB).
"""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.data import deep, images, metadata, png, tiff
from sr_core.data.images import ImageFile, UnknownKindError
from sr_core.data.policy import MAX_PIXELS, UPSCALING
from sr_core.errors import ImageError, shown
from sr_core.files import atomic_path

FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}  # by suffix

_JPEG_QUALITY = 95
_WEBP_EFFORT = {"method": 1, "quality": 30}  # as small as by Pillow's 4 and 80 within 0.1 %, in 0.4 of the time
_LONGEST_SIDE = {"JPEG": 65535, "WEBP": 16383}
_MAX_EXIF_BYTES = 65533 - len(metadata.PREFIX)  # in JPEG
_STRIP_ROWS = 64
_TIFF_SIGNATURES = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"})
_TIFF_PHOTOMETRIC, _TIFF_SAMPLES, _TIFF_SAMPLE_FORMAT = 262, 277, 339
_TIFF_PARTS = ((273, 279), (324, 325))  # where strips or tiles lie, and how long they are
_UNSIGNED = (1,)
_TAKE = "take png, tiff or webp"

_Upright = Callable[[NDArray[Any]], NDArray[Any]]
# (H, W, C) -> (H, W, C), or (W, H, C) from 5 on
_UPRIGHT: dict[int, _Upright] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What an image file shows, upright, and what it says of its colours and of how it was taken."""

    pixels: NDArray[Any]  # (H, W, C) uint8 or uint16
    alpha: NDArray[Any] | None = None  # (H, W), of the same type
    icc: bytes | None = None  # the colour profile
    exif: bytes | None = None  # from II or MM on, without the orientation, which has been applied


def read_picture(source: Path | bytes, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the file, or in the file's bytes; `name` is what errors call it.

    Raises:
        ImageError: it cannot be decoded, would lose something without a word, or has more than `max_pixels` pixels.
    """
    given = name or ("the image" if isinstance(source, bytes) else str(source))
    file = ImageFile(content=source, name=shown(given))
    try:
        return _read(file, max_pixels)
    except UnknownKindError:
        if file.head(4) not in _TIFF_SIGNATURES:
            raise
    return _read_tiff(file, max_pixels)


def _read(file: ImageFile, max_pixels: int) -> Picture:
    with images.opened(file, UPSCALING, max_pixels) as image:
        images.check_bytes(file, image, UPSCALING)
        turn, bits = _orientation(file, image), _checked_bits(file, image)
        profile = image.info.get("icc_profile")
        if bits < 16 or image.mode.startswith("I;16"):
            pixels, alpha = _decoded(image, bits)
        elif image.format == "PNG":
            pixels, alpha = _split(deep.read_png(file))
        else:
            both, turn, profile = deep.read_tiff(file, max_pixels)
            pixels, alpha = _split(both)
        return _upright(pixels, alpha, turn, profile, metadata.exif_of(image))


def _read_tiff(file: ImageFile, max_pixels: int) -> Picture:
    """A TIFF that Pillow does not know, such as of 16-bit grey with alpha."""
    try:
        both, turn, profile = deep.read_tiff(file, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # tifffile raises what it meets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{file.name}: cannot be decoded ({reason}); {UPSCALING.replace}") from None
    with file.open() as stream:
        exif = metadata.exif_of_tiff(stream)
    return _upright(*_split(both), turn, profile, exif)


def _orientation(file: ImageFile, image: Image.Image) -> int:
    try:
        return images.orientation(file, image)
    except Exception:  # EXIF that is none; damage of pixels is met again
        return 1


def _upright(
    pixels: NDArray[Any], alpha: NDArray[Any] | None, turn: int, profile: object, exif: bytes | None
) -> Picture:
    if upright := _UPRIGHT.get(turn):
        pixels = np.ascontiguousarray(upright(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(upright(alpha))
    return Picture(pixels=pixels, alpha=alpha, icc=metadata.icc_of(profile, pixels.shape[2]), exif=exif)


def write_picture(path: Path, picture: Picture, format: str | None = None) -> None:
    """Writes `picture` to `path`, whole or not at all, in `format` or that of the suffix; see `encode_picture`.

    Raises:
        ImageError: the format cannot hold it.
    """
    chosen = format or path.suffix.lower().removeprefix(".")
    check_format(picture, chosen)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _write(file, picture, FORMATS[chosen])


def encode_picture(picture: Picture, format: str) -> bytes:
    """`picture` as a file of `format`: png, jpg, webp or tiff, all of them lossless but jpg.

    Raises:
        ImageError: the format cannot hold it.
    """
    check_format(picture, format)
    buffer = io.BytesIO()
    _write(buffer, picture, FORMATS[format])
    return buffer.getvalue()


def check_format(picture: Picture, format: str, scale: int = 1) -> None:
    """Refuses a `format` that could not hold `picture`, enlarged by `scale`.

    Raises:
        ImageError: of depth, transparency or size.
    """
    if format not in FORMATS:
        raise ImageError(f"{format}: is no format that is written, expected one of {', '.join(FORMATS)}")
    written = FORMATS[format]
    height, width = (scale * side for side in picture.pixels.shape[:2])
    num_bytes = scale**2 * (picture.pixels.nbytes + (picture.alpha.nbytes if picture.alpha is not None else 0))
    if picture.pixels.dtype != np.uint8 and written in {"JPEG", "WEBP"}:
        raise ImageError(f"{format}: holds 8 bits per channel, and the picture has 16; take png or tiff")
    if written == "JPEG" and picture.alpha is not None and not (picture.alpha == 255).all():
        raise ImageError(f"{format}: holds no alpha, and the picture has transparent pixels; {_TAKE}")
    if max(height, width) > _LONGEST_SIDE.get(written, 2**31 - 1):
        raise ImageError(
            f"{format}: holds {_LONGEST_SIDE[written]} pixels a side at most, and the result has {width}x{height}; "
            "take png or tiff"
        )
    if written == "TIFF" and num_bytes > tiff.MAX_BYTES:
        raise ImageError(f"{format}: holds 4 GB at most, and the result has {num_bytes / 1e9:.1f}; take png")


def _write(file: IO[bytes], picture: Picture, format: str) -> None:
    if format in {"PNG", "TIFF"}:
        writer = png.write if format == "PNG" else tiff.write
        writer(file, picture.pixels, picture.alpha, icc=picture.icc, exif=picture.exif)
        return
    options: dict[str, Any] = {"icc_profile": picture.icc} if picture.icc else {}
    if picture.exif and (format == "WEBP" or len(picture.exif) <= _MAX_EXIF_BYTES):
        options["exif"] = metadata.PREFIX + picture.exif
    pixels = picture.pixels[:, :, 0] if picture.pixels.shape[2] == 1 else picture.pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if format == "JPEG":
        image.save(file, format=format, quality=_JPEG_QUALITY, subsampling="4:4:4", **options)
        return
    if picture.alpha is not None:
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(picture.alpha))
    image.save(file, format=format, lossless=True, exact=True, **_WEBP_EFFORT, **options)


def _checked_bits(file: ImageFile, image: Image.Image) -> int:
    """Bits per channel."""
    bits = images.bits_of(file, image)
    if bits not in {1, 2, 4, 8, 16}:
        raise ImageError(f"{file.name}: has {bits} bits per channel; {UPSCALING.convert}")
    if image.format == "TIFF":
        _check_tags(file, image)
    return bits


def _check_tags(file: ImageFile, image: Image.Image) -> None:
    """What Pillow or libtiff would pass over in silence, or with a line of their own."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    if set(tags.get(_TIFF_SAMPLE_FORMAT, _UNSIGNED)) != set(_UNSIGNED):
        raise ImageError(f"{file.name}: has signed numbers or fractions as pixels; {UPSCALING.convert}")
    if tags.get(_TIFF_SAMPLES, 1) > len(image.getbands()):
        raise ImageError(f"{file.name}: has another channel of unknown meaning; {UPSCALING.convert}")
    for starts, lengths in _TIFF_PARTS:
        ends = [start + length for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)]
        if max(ends, default=0) > file.size_bytes:
            raise ImageError(f"{file.name}: cannot be decoded (it ends before its pixels); {UPSCALING.replace}")


def _decoded(image: Image.Image, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(H, W, C) and alpha (H, W) of what Pillow decodes at full depth."""
    image.load()
    clear = image.info.get("transparency")
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        pixels, alpha = _split(_array(image))
        return pixels, alpha if alpha is not None and (clear is None or (alpha != 255).any()) else None
    if image.mode == "1":
        image = image.convert("L")
    pixels, alpha = _split(_array(image))
    tags: Any = getattr(image, "tag_v2", {})
    if pixels.dtype == np.uint16 and tags.get(_TIFF_PHOTOMETRIC) == 0:  # white is 0; Pillow sees to it in 8 bits
        pixels = 65535 - pixels
    if clear is not None and alpha is None:  # a PNG's transparent colour, whose numbers have the file's depth
        stretch = 255 // (2**bits - 1) if 1 < bits < 8 else 1  # of 1 bit Pillow has seen to it
        alpha = np.where((pixels == np.multiply(clear, stretch)).all(axis=2), 0, np.iinfo(pixels.dtype).max)
        alpha = alpha.astype(pixels.dtype) if not alpha.all() else None
    return pixels, alpha


def _array(image: Image.Image) -> NDArray[Any]:
    """(H, W, N); by strips, as Pillow would make a second copy of the whole on the way."""
    bands = len(image.getbands())
    out = np.empty((image.height, image.width, bands), np.uint16 if image.mode.startswith("I;16") else np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        out[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom))).reshape(bottom - top, -1, bands)
    return out


def _split(both: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(H, W, N) -> (H, W, C) and alpha (H, W)."""
    if both.shape[2] in {1, 3}:
        return both, None
    return np.ascontiguousarray(both[:, :, :-1]), np.ascontiguousarray(both[:, :, -1])

"""What a picture's file says beside its pixels: how it was taken (EXIF) and what its colours mean (ICC).

EXIF is kept byte by byte, as makers' notes in it point to other places in it; only the orientation is taken out, which
has been applied by then. What cannot be read is left out: it says nothing to any reader.

EXIF: CIPA DC-008; it is a TIFF of tags without pixels. ICC: ICC.1.
"""

import struct
from typing import IO, Any

from PIL import Image, TiffImagePlugin

PREFIX = b"Exif\0\0"  # before EXIF in JPEG
ORIENTATION = 274
EXIF_DIRECTORY, GPS_DIRECTORY = 34665, 34853
# of a TIFF's tags those that others have in EXIF: description, maker, resolution, date, author, rights
_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, EXIF_DIRECTORY, GPS_DIRECTORY)
_DIRECTORIES = (EXIF_DIRECTORY, GPS_DIRECTORY)
_ENTRY_BYTES = 12
_ICC_SPACES = {b"RGB ": 3, b"GRAY": 1}  # channels


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF of a decoded `image` from `II` or `MM` on, without its orientation; None if it has none."""
    try:
        raw = _of_tags(image.getexif()) if image.format == "TIFF" else _raw(image)
        return _upright(raw) if raw else None
    except Exception:  # Pillow raises what it meets
        return None


def exif_of_tiff(file: IO[bytes]) -> bytes | None:
    """As `exif_of`, of a TIFF whatever its pixels are."""
    tags = Image.Exif()
    try:
        tags.load_from_fp(file)
        return _of_tags(tags)
    except Exception:  # Pillow raises what it meets
        return None


def icc_of(profile: object, channels: int) -> bytes | None:
    """`profile`, if it is a colour profile for so many `channels`."""
    if not isinstance(profile, bytes) or len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    whole = int.from_bytes(profile[:4], "big") == len(profile)
    return profile if whole and _ICC_SPACES.get(profile[16:20]) == channels else None


def add_to_tiff(directory: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes) -> None:
    """Adds to a TIFF's tags what EXIF says."""
    parsed = Image.Exif()
    parsed.load(PREFIX + exif)
    for tag in _TAGS:
        if tag in parsed:
            value: Any = dict(parsed.get_ifd(tag)) if tag in _DIRECTORIES else parsed[tag]
            directory[tag] = value
            if tag in _DIRECTORIES:
                directory.tagtype[tag] = 4


def _raw(image: Image.Image) -> bytes | None:
    raw = image.info.get("exif")
    if raw is None and (text := image.info.get("Raw profile type exif")):  # by ImageMagick, in hexadecimal
        raw = bytes.fromhex("".join(text.split("\n")[3:]))
    return raw.removeprefix(PREFIX) if isinstance(raw, bytes) else None


def _of_tags(tags: Image.Exif) -> bytes | None:
    kept = Image.Exif()
    for tag in _TAGS:
        if tag in tags:
            kept[tag] = dict(tags.get_ifd(tag)) if tag in _DIRECTORIES else tags[tag]
    return kept.tobytes().removeprefix(PREFIX) if len(kept) else None


def _upright(exif: bytes) -> bytes | None:
    """`exif` without the entry of its orientation, and then without the small picture, which was not turned."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (num,) = struct.unpack_from(order + "H", exif, start)
    first, end = start + 2, start + 2 + num * _ENTRY_BYTES
    if len(exif) < end + 4:
        return None
    for at in range(first, end, _ENTRY_BYTES):
        if struct.unpack_from(order + "H", exif, at)[0] == ORIENTATION:
            count = struct.pack(order + "H", num - 1)
            # the others move up; nothing else may, as offsets count from the beginning
            entries = exif[first:at] + exif[at + _ENTRY_BYTES : end] + bytes(4 + _ENTRY_BYTES)
            return exif[:start] + count + entries + exif[end + 4 :] if num > 1 else None
    return exif

"""A file of every kind in the policy's tables, made in `folder`."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from photos import noise, save, sixteen_bit_rgb
from PIL import Image, ImageCms

RGB = Image.fromarray(noise(40, 56))
Make = Callable[[Path], Path]


def png(path: Path, *, width: int, height: int, depth: int, colour: int, interlaced: bool = False) -> Path:
    """A grey or colour PNG of zeros, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    row = b"\0" + bytes((width * depth * (3 if colour == 2 else 1) + 7) // 8)
    rows = zlib.compress(row * min(height, 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def of(name: str, image: Image.Image = RGB, **options: Any) -> Make:
    """Saves `image` as `name`; a copy, as saving leaves the format's settings in an image."""
    return lambda folder: save(folder / name, image.copy(), **options)


def several(name: str, **options: Any) -> Make:
    """A file `name` of two pictures."""

    def make(folder: Path) -> Path:
        second = Image.fromarray(noise(40, 56, seed=1))
        return of(name, save_all=True, append_images=[second], **options)(folder)

    return make


def raw(name: str, content: bytes) -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def with_alpha(mode: str, alpha: int) -> Image.Image:
    image = RGB.convert("RGB" if mode == "RGBA" else "L")
    image.putalpha(alpha)
    return image


def lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    made = ImageCms.applyTransform(RGB, to_lab)
    assert made is not None
    return made


def palette(*, transparent: int | None) -> Image.Image:
    image = RGB.quantize(16)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """The file of `make` with other bytes."""

    def made(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return made


def turned(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(folder / "a.jpg", RGB, exif=exif)


def sixteen_bit_tiff(folder: Path) -> Path:
    """RGB of 16 bits, little-endian and uncompressed, which Pillow cannot write."""
    tags = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 8 + 2 + 9 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 128), (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + struct.pack("<HHH", 16, 16, 16)
    (folder / "a.tif").write_bytes(head.ljust(128, b"\0") + bytes(range(24)))
    return folder / "a.tif"


def multiplied(data: bytes) -> bytes:
    """A TIFF with alpha (tag 338, of one short) whose colours are said to be multiplied by it."""
    order = "<" if data[:2] == b"II" else ">"
    at = data.index(struct.pack(order + "HHI", 338, 3, 1)) + 8
    return data[:at] + struct.pack(order + "H", 1) + data[at + 2 :]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def foreign(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + noise(1, 300, seed=2).tobytes() + data[at + 900 :]


def directory(folder: Path) -> Path:
    (folder / "a.png").mkdir()
    return folder / "a.png"


BY_MODE: dict[str, Make] = {
    "RGB": of("a.png"),
    "L": of("a.png", RGB.convert("L")),
    "P": of("a.png", palette(transparent=None)),
    "RGBA": of("a.png", with_alpha("RGBA", 255)),
    "LA": of("a.png", with_alpha("LA", 255)),
    "1": of("a.png", RGB.convert("1")),
    "I": of("a.tif", Image.fromarray(np.full((40, 56), 4000, np.int32))),
    "I;16": of("a.tif", Image.fromarray(np.full((40, 56), 4000, np.uint16))),
    "F": of("a.tif", Image.fromarray(np.full((40, 56), 0.5, np.float32))),
    "CMYK": of("a.tif", RGB.convert("CMYK")),
    "YCbCr": of("a.tif", RGB.convert("YCbCr")),
    "LAB": of("a.tif", lab()),
}
FILES: dict[str, Make] = {
    "transparent pixels": of("a.png", with_alpha("RGBA", 254)),
    "TIFF of colours multiplied by alpha": changed(of("a.tif", with_alpha("RGBA", 254)), multiplied),
    "palette with a transparent colour": of("a.png", palette(transparent=0)),
    "transparent colour that does not occur": of("a.png", palette(transparent=200)),
    "16-bit RGB PNG": lambda folder: sixteen_bit_rgb(folder / "a.png"),
    "16-bit RGB TIFF": sixteen_bit_tiff,
    "16-bit grey PNG": of("a.png", Image.fromarray(np.full((40, 56), 4000, np.uint16))),
    "2-bit grey PNG": lambda folder: png(folder / "a.png", width=40, height=40, depth=2, colour=0),
    "CMYK JPEG": of("a.jpg", RGB.convert("CMYK")),
    "interlaced PNG": lambda folder: png(folder / "a.png", width=1, height=1, depth=8, colour=2, interlaced=True),
    "progressive JPEG": of("a.jpg", progressive=True),
    "animated PNG": several("a.png"),
    "animated WebP": several("a.webp"),
    "multi-page TIFF": several("a.tif"),
    "JPEG of several pictures (MPO)": several("a.jpg", format="MPO"),
    "EXIF orientation": turned,
    "colour profile (ICC)": of("a.jpg", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    "JPEG that is called .png": of("a.png", format="JPEG"),
    "one pixel": of("a.png", Image.fromarray(noise(1, 1))),
    "header of a huge image": lambda folder: png(folder / "a.png", width=60000, height=60000, depth=8, colour=2),
    "truncated": changed(of("a.jpg"), half),
    "damaged PNG": changed(of("a.png"), flipped),
    "JPEG with foreign bytes inside": changed(of("a.jpg", quality=95), foreign),
    "empty file": raw("a.png", b""),
    "text that is called .png": raw("a.png", b"this is text"),
    "GIF": of("a.gif"),
    "SVG": raw("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "HEIC": raw("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)),
    "AVIF": of("a.avif"),
    "JPEG 2000": of("a.jp2"),
    "directory, pipe or device": directory,
}

"""Files that a user may send by mistake or by malice, and what has to come of each: a message, or the right picture.

    for bad in BAD_INPUTS:
        bad.data        what is sent
        bad.says        the message has to match this, where there is to be one
        bad.picture     what has to be read else (bad.exact: to the bit; else lossily)

The same list goes through the command, REST and the web page.
"""

import dataclasses
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_core.data.pictures import Picture

NO_KIND = r"is a TIFF of a kind that is not read, expected grey or RGB; convert it to a PNG"
NO_IMAGE = r"is no PNG, JPEG, TIFF, BMP or WebP image; convert it to a PNG"
BROKEN = r"(cannot be decoded|is damaged|is no PNG)"
SEVERAL = r"holds 2 pictures, of which only the first would be used; split it"
HUGE = r"is \d+x\d+ pixels, more than data\.max_pixels 100000000; cut or shrink it"
INKS = r"mode CMYK holds printing inks"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BadInput:
    """One file."""

    name: str
    data: bytes
    says: str | None = None
    picture: Picture | None = None
    exact: bool = True


def random(*shape: int, dtype: type = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


PIXELS = random(33, 47, 3)
SMOOTH = np.add.outer(np.arange(33) * 3, np.arange(47) * 2)[:, :, None].repeat(3, 2).astype(np.uint8)
RGB, GREY = Image.fromarray(PIXELS), Image.fromarray(PIXELS[:, :, 0])
# of interlaced PNG: left, top, step to the right, step down
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
SWOLLEN = zlib.compress(bytes(64_000_000))
DEEP = random(33, 47, 4, dtype=np.uint16)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, format=format, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(pixels), **options)
    return buffer.getvalue()


def deep_png(pixels: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def interlaced(pixels: NDArray[Any]) -> bytes:
    """A 16-bit PNG of RGB in seven passes."""
    rows = b""
    for left, top, right, down in PASSES:
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels[top::down, left::right])
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def half(data: bytes, part: float = 0.5) -> bytes:
    return data[: int(len(data) * part)]


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _wrong(name: str, data: bytes, says: str) -> BadInput:
    return BadInput(name=name, data=data, says=says)


def _right(
    name: str, data: bytes, pixels: NDArray[Any], alpha: NDArray[Any] | None = None, exact: bool = True
) -> BadInput:
    shaped = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return BadInput(name=name, data=data, picture=Picture(pixels=shaped, alpha=alpha), exact=exact)


def _no_images() -> Iterator[BadInput]:
    contents = {
        "empty": b"",
        "one byte": b"\xff",
        "zeros": bytes(1000),
        "text": b"this is text",
        "json": json.dumps({"image": "none"}).encode(),
        "html": b"<!doctype html><html><body><img src='a.png'></body></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "zip": b"PK\x03\x04" + bytes(60),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "gif": saved(RGB, "GIF"),
        "animated gif": saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)]),
        "avif": saved(RGB, "AVIF"),
        "jpeg 2000": saved(RGB, "JPEG2000"),
        "ico": saved(RGB, "ICO", sizes=[(16, 16)]),
        "ppm": saved(RGB, "PPM"),
        "signature of a png alone": b"\x89PNG\r\n\x1a\n",
        "signature of a jpeg alone": b"\xff\xd8\xff",
        "signature of a tiff alone": b"II*\0",
        "signature of a webp alone": b"RIFF\0\0\0\0WEBP",
        "signature of a bmp alone": b"BM",
    }
    for name, data in contents.items():
        yield _wrong(name, data, BROKEN if name.startswith("signature") else NO_IMAGE)


def _truncated() -> Iterator[BadInput]:
    whole = {
        "png": saved(RGB, "PNG"),
        "jpeg": saved(RGB, "JPEG", quality=95),
        "progressive jpeg": saved(RGB, "JPEG", quality=95, progressive=True),
        "tiff": saved(RGB, "TIFF"),
        "deflated tiff": tiff(PIXELS, compression="deflate", photometric="rgb"),
        "16-bit tiff": tiff(DEEP[:, :, :3], compression="deflate", photometric="rgb"),
        "16-bit png": deep_png(DEEP[:, :, :3]),
        "webp": saved(RGB, "WEBP", lossless=True),
        "bmp": saved(RGB, "BMP"),
    }
    for name, data in whole.items():
        for part in (0.05, 0.5, 0.98):
            yield _wrong(f"{name}, {part:.0%} of it", half(data, part), BROKEN)


def _huge() -> Iterator[BadInput]:
    nothing = chunk(b"IDAT", zlib.compress(bytes(1000)))
    yield _wrong("png of a huge header", png(60000, 60000, 8, 2, nothing), HUGE)
    yield _wrong("png of the hugest header", png(2**31 - 1, 2**31 - 1, 8, 2, nothing), f"{HUGE}|{BROKEN}")
    yield _wrong("16-bit png of a huge header", png(60000, 60000, 16, 2, nothing), HUGE)
    bmp = saved(RGB, "BMP")
    yield _wrong("bmp of a huge header", with_bytes(bmp, 18, struct.pack("<ii", 60000, 60000)), HUGE)
    head = b"VP8L" + struct.pack("<I", 100) + b"\x2f" + struct.pack("<I", 16383 | 16383 << 14) + bytes(95)
    yield _wrong("webp of a huge header", b"RIFF" + struct.pack("<I", len(head) + 4) + b"WEBP" + head, HUGE)
    frame = saved(RGB, "JPEG")
    at = frame.index(b"\xff\xc0") + 5
    yield _wrong("jpeg of a huge header", with_bytes(frame, at, b"\xff\xff\xff\xff"), HUGE)
    for name, pixels in (("tiff", PIXELS), ("16-bit tiff", DEEP[:, :, :3])):
        data = tiff(pixels, photometric="rgb", metadata=None)
        for tag in (256, 257):
            data = with_tag(data, tag, 60000)
        yield _wrong(f"{name} of a huge header", data, HUGE)
    # 64 kB that become 64 MB
    many = chunk(b"IDAT", SWOLLEN)
    yield _wrong("bomb in a png", png(20000, 20000, 1, 0, many), HUGE)
    yield _right("png with far more than its pixels", png(4, 4, 8, 2, many), np.zeros((4, 4, 3), np.uint8))
    text = chunk(b"zTXt", b"comment\0\0" + SWOLLEN)
    yield _wrong("bomb in the text of a png", png(4, 4, 8, 2, text, chunk(b"IDAT", zlib.compress(bytes(52)))), BROKEN)
    profile = chunk(b"iCCP", b"icc\0\0" + SWOLLEN)
    data = png(4, 4, 8, 2, profile, chunk(b"IDAT", zlib.compress(bytes(52))))
    yield _wrong("bomb in the profile of a png", data, BROKEN)
    for depth, pixels in ((8, PIXELS), (16, DEEP[:, :, :3])):
        data = tiff(pixels[:16, :16], photometric="rgb", tile=(16, 16), compression="deflate", metadata=None)
        yield _wrong(f"{depth}-bit tiff of huge tiles", with_tag(with_tag(data, 322, 60000), 323, 60000), BROKEN)
    for depth, dtype in ((8, np.uint8), (16, np.uint16)):
        black = np.zeros((8, 8, 3), dtype)
        data = tiff(black, photometric="rgb", compression="deflate", metadata=None)
        data = with_tag(with_tag(data, 273, len(data)), 279, len(SWOLLEN)) + SWOLLEN
        name = f"{depth}-bit tiff with far more than its pixels"
        yield _right(name, data, black) if depth == 8 else _wrong(name, data, BROKEN)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose `tag`, of one number, is `value`."""
    (start,) = struct.unpack_from("<I", data, 4)
    (num,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * num, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            return with_bytes(data, at + 2, struct.pack("<HII", 4, 1, value))
    raise KeyError(tag)


def _several() -> Iterator[BadInput]:
    second = Image.fromarray(random(33, 47, 3, seed=1))
    for format in ("PNG", "WEBP", "TIFF"):
        yield _wrong(f"{format} of two pictures", saved(RGB, format, save_all=True, append_images=[second]), SEVERAL)
    mpo = saved(Image.fromarray(SMOOTH), "MPO", save_all=True, append_images=[second], quality=100)
    yield _right("jpeg with a preview", mpo, SMOOTH, exact=False)


def _colours() -> Iterator[BadInput]:
    yield _wrong("cmyk jpeg", saved(RGB.convert("CMYK"), "JPEG"), INKS)
    yield _wrong("cmyk tiff", saved(RGB.convert("CMYK"), "TIFF"), INKS)
    yield _wrong("luma and chroma", saved(RGB.convert("YCbCr"), "TIFF"), "luma and chroma|cannot be decoded")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    yield _wrong("lab", saved(ImageCms.applyTransform(RGB, to_lab), "TIFF"), r"L\*a\*b\* colours")
    yield _wrong("float tiff", saved(Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "TIFF"), "floating point")
    yield _wrong("half float tiff", tiff(PIXELS[:, :, 0].astype(np.float16)), NO_KIND)
    yield _wrong("float rgb tiff", tiff(PIXELS.astype(np.float32), photometric="rgb"), NO_KIND)
    yield _wrong("32-bit tiff", tiff(PIXELS[:, :, 0].astype(np.uint32)), "32 bits, or signed")
    yield _wrong("signed 8-bit tiff", tiff(PIXELS[:, :, 0].astype(np.int8), photometric="minisblack"), "signed numbers")
    yield _wrong(
        "signed 16-bit tiff", tiff(DEEP[:, :, 0].astype(np.int16), photometric="minisblack"), "32 bits, or signed"
    )
    yield _wrong("five channels", tiff(random(33, 47, 5), photometric="rgb", extrasamples=[0, 0]), "another channel")
    yield _right("grey", saved(GREY, "PNG"), PIXELS[:, :, :1])
    yield _right(
        "grey jpeg", saved(Image.fromarray(SMOOTH[:, :, 0]), "JPEG", quality=100), SMOOTH[:, :, :1], exact=False
    )
    yield _right("two levels", saved(GREY.convert("1"), "PNG"), np.asarray(GREY.convert("1")).astype(np.uint8) * 255)
    alpha = random(33, 47, seed=2)
    rgba = Image.fromarray(np.concatenate((PIXELS, alpha[:, :, None]), 2))
    for format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        yield _right(f"alpha in {format}", saved(rgba, format, **options), PIXELS, alpha)
    la = GREY.copy()
    la.putalpha(Image.fromarray(alpha))
    yield _right("grey with alpha", saved(la, "PNG"), PIXELS[:, :, :1], alpha)
    palette = RGB.quantize(16)
    index = np.asarray(palette)
    for depth in (1, 2, 4):
        levels = random(9, 16) % 2**depth
        shown = levels * np.uint8(255 // (2**depth - 1))
        for clear in (0, 2**depth - 1):
            data = packed(levels, depth, clear)
            name = f"{depth}-bit grey png with {clear} transparent"
            yield _right(name, data, shown, np.where(levels == clear, 0, 255).astype(np.uint8))
    yield _right("palette", saved(palette, "PNG"), np.asarray(palette.convert("RGB")))
    clear = bytes(range(0, 256, 16))
    data = saved(palette, "PNG", transparency=clear)
    yield _right("palette with alpha", data, np.asarray(palette.convert("RGB")), np.frombuffer(clear, np.uint8)[index])
    yield _right("bmp", saved(RGB, "BMP"), PIXELS)
    yield _right(
        "bmp of run lengths",
        run_length_bmp(),
        np.array([[9, 9, 9, 200], [200, 200, 200, 200]], np.uint8),
    )
    yield _right("jpeg called png", saved(Image.fromarray(SMOOTH), "JPEG", quality=100), SMOOTH, exact=False)


def packed(levels: NDArray[Any], depth: int, clear: int) -> bytes:
    """A grey PNG of `depth` bits with the transparent grey `clear`."""
    bits = np.unpackbits(levels[:, :, None], axis=2)[:, :, 8 - depth :].reshape(len(levels), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    chunks = chunk(b"tRNS", struct.pack(">H", clear)), chunk(b"IDAT", zlib.compress(rows))
    return png(levels.shape[1], levels.shape[0], depth, 0, *chunks)


def run_length_bmp() -> bytes:
    """4 x 2, compressed by RLE8, from the lowest row on."""
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    rows = bytes((4, 200, 0, 0, 3, 9, 1, 200, 0, 0, 0, 1))
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(rows), 0, 0, 256, 256)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + palette + rows


def _sixteen() -> Iterator[BadInput]:
    colours, alpha = DEEP[:, :, :3], DEEP[:, :, 3]
    grey = colours[:, :, :1]
    grey_alpha = np.concatenate((grey, alpha[:, :, None]), 2)
    yield _right("16-bit grey png", deep_png(grey[:, :, 0]), grey)
    yield _right("16-bit grey png with alpha", deep_png(grey_alpha), grey, alpha)
    yield _right("16-bit rgb png", deep_png(colours), colours)
    yield _right("16-bit rgb png with alpha", deep_png(DEEP), colours, alpha)
    yield _right("16-bit rgb png, interlaced", interlaced(colours), colours)
    yield _right("16-bit grey tiff", tiff(grey[:, :, 0], photometric="minisblack"), grey)
    yield _right("16-bit grey tiff, white is 0", tiff(grey[:, :, 0], photometric="miniswhite"), 65535 - grey)
    la = tiff(grey_alpha, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    yield _right("16-bit grey tiff with alpha", la, grey, alpha)
    yield _right("16-bit rgb tiff", tiff(colours, photometric="rgb"), colours)
    planes = tiff(colours.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    yield _right("16-bit rgb tiff in planes", planes, colours)
    yield _right(
        "16-bit rgb tiff with alpha", tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"]), colours, alpha
    )


def _shapes() -> Iterator[BadInput]:
    for height, width in ((1, 1), (1, 4000), (4000, 1)):
        pixels = random(height, width, 3)
        yield _right(f"{width} x {height}", saved(Image.fromarray(pixels), "PNG"), pixels)
        deep = random(height, width, 3, dtype=np.uint16)
        yield _right(f"{width} x {height} of 16 bits", deep_png(deep), deep)
    yield _wrong("png of no width", png(0, 4, 8, 2, chunk(b"IDAT", zlib.compress(b""))), BROKEN)
    yield _wrong("bmp of no height", with_bytes(saved(RGB, "BMP"), 22, struct.pack("<i", 0)), BROKEN)


def _damaged() -> Iterator[BadInput]:
    whole, deep = saved(RGB, "PNG"), deep_png(DEEP[:, :, :3])
    for name, data in (("png", whole), ("16-bit png", deep)):
        at = data.index(b"IDAT")
        (length,) = struct.unpack_from(">I", data, at - 4)
        yield _wrong(f"{name} of a wrong checksum", with_bytes(data, at + 4 + length, b"\1\2\3\4"), BROKEN)
        yield _wrong(f"{name} with a flipped bit", with_bytes(data, at + 99, bytes([data[at + 99] ^ 4])), BROKEN)
        head = data[: at - 4]
        garbage = chunk(b"IDAT", random(1, 500).tobytes()) + chunk(b"IEND", b"")
        yield _wrong(f"{name} with garbage for pixels", head + garbage, BROKEN)
        few = chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")
        yield _wrong(f"{name} with too few pixels", head + few, BROKEN)
        yield _wrong(f"{name} without pixels", head + chunk(b"IEND", b""), BROKEN)
    yield _wrong("png of an unknown colour type", png(4, 4, 8, 5, chunk(b"IDAT", zlib.compress(bytes(99)))), BROKEN)
    no_palette = png(4, 4, 8, 3, chunk(b"IDAT", zlib.compress(bytes(20))))
    yield _wrong("palette png without a palette", no_palette, BROKEN)
    jpeg = saved(RGB, "JPEG", quality=95)
    scan = jpeg.index(b"\xff\xda") + 14
    yield _wrong("jpeg without its end", jpeg[:-2], BROKEN)
    noise = random(1, 400, seed=3).tobytes().replace(b"\xff\x00", b"\xff\x01")
    yield _wrong("jpeg with foreign bytes", with_bytes(jpeg, scan + 400, noise), BROKEN)
    yield _wrong("jpeg with zeros for a part of its pixels", with_bytes(jpeg, scan + 400, bytes(400)), BROKEN)
    frame = jpeg.index(b"\xff\xc0")
    yield _wrong("arithmetic jpeg", with_bytes(jpeg, frame, b"\xff\xc9"), r"coded arithmetically|cannot be decoded")
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20)
    smooth = Image.fromarray(SMOOTH)
    yield _right("jpeg with garbage for exif", saved(smooth, "JPEG", quality=100, exif=exif), SMOOTH, exact=False)
    yield _right("png with garbage for exif", saved(RGB, "PNG", exif=b"garbage"), PIXELS)
    yield _right("png with garbage for a profile", saved(RGB, "PNG", icc_profile=b"garbage" * 30), PIXELS)
    tif = tiff(DEEP[:, :, :3], photometric="rgb", compression="deflate", metadata=None)
    (at,) = struct.unpack_from("<I", tif, 4)
    yield _wrong("16-bit tiff without its pixels' place", with_tag(tif, 273, 0), BROKEN)
    yield _wrong("16-bit tiff with garbage for pixels", with_bytes(tif, at + 300, random(1, 400).tobytes()), BROKEN)
    yield _wrong("tiff without tags", b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8), NO_KIND)


def all_inputs() -> Iterator[BadInput]:
    for kind in (_no_images, _truncated, _huge, _several, _colours, _sixteen, _shapes, _damaged):
        yield from kind()


BAD_INPUTS = tuple(all_inputs())

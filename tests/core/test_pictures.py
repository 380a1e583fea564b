"""Pictures are read and written with their grey, alpha, 16 bits, profile and EXIF, from paths and from bytes."""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_core.data import metadata
from sr_core.data.pictures import FORMATS, Picture, encode_picture, read_picture, write_picture
from sr_core.errors import ImageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("png", "tiff", "webp")
DEEP = ("png", "tiff")


def random(*shape: int, dtype: type = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, format=format, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def exif(orientation: int | None = None) -> Image.Exif:
    made = Image.Exif()
    made[271], made[306] = "Camera", "2026:01:02 03:04:05"
    made[34665] = {33434: 0.01, 37500: b"maker's note"}
    made[34853] = {1: "N", 2: (1.0, 2.0, 3.0)}
    if orientation is not None:
        made[274] = orientation
    return made


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 1), (1, 4000), (4000, 1), (700, 500)])
def test_what_is_written_is_read(
    format: str, channels: int, has_alpha: bool, dtype: type, height: int, width: int
) -> None:
    picture = Picture(
        pixels=random(height, width, channels, dtype=dtype),
        alpha=random(height, width, dtype=dtype, seed=2) if has_alpha else None,
        icc=SRGB if channels == 3 else None,
        exif=exif().tobytes().removeprefix(metadata.PREFIX),
    )
    if dtype == np.uint16 and format == "webp":
        with pytest.raises(ImageError, match=r"^webp: holds 8 bits per channel, and the picture has 16; take png or"):
            encode_picture(picture, format)
        return
    again = read_picture(encode_picture(picture, format))
    grey = channels == 1 and format != "webp"  # which has no grey
    expected = picture.pixels if grey else np.broadcast_to(picture.pixels, (height, width, 3))
    np.testing.assert_array_equal(again.pixels, expected)
    assert again.pixels.dtype == dtype
    assert (again.alpha is None) == (not has_alpha)
    if has_alpha:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    assert again.icc == picture.icc
    assert again.exif is not None
    said = Image.Exif()
    said.load(metadata.PREFIX + again.exif)
    assert said[271] == "Camera"
    assert said.get_ifd(34665)[33434] == pytest.approx(0.01)
    assert said.get_ifd(34665)[37500] == b"maker's note"
    assert said.get_ifd(34853)[2] == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_others_read_what_is_written(channels: int, format: str, dtype: type) -> None:
    picture = Picture(pixels=random(9, 11, channels, dtype=dtype), alpha=random(9, 11, dtype=dtype, seed=1), icc=None)
    data = encode_picture(picture, format)
    both = np.concatenate((picture.pixels, picture.alpha[:, :, None]), axis=2)
    decoded = imagecodecs.png_decode(data) if format == "png" else tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(decoded, both)


def test_jpeg_is_written_with_all_its_colours() -> None:
    smooth = np.stack(np.meshgrid(np.arange(64) * 3, np.arange(64) * 2, indexing="ij"), axis=2).astype(np.uint8)
    pixels = np.concatenate((smooth, smooth[:, :, :1]), axis=2)
    data = encode_picture(Picture(pixels=pixels, icc=SRGB, alpha=np.full((64, 64), 255, np.uint8)), "jpg")
    again = read_picture(data)
    assert np.abs(again.pixels.astype(int) - pixels).max() <= 4
    assert again.icc == SRGB
    with Image.open(io.BytesIO(data)) as image:
        assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4
    grey = read_picture(encode_picture(Picture(pixels=pixels[:, :, :1]), "jpeg"))
    assert grey.pixels.shape == (64, 64, 1)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[3, 4] = 254
    with pytest.raises(ImageError, match="jpg: holds no alpha, and the picture has transparent pixels; take png"):
        encode_picture(Picture(pixels=pixels, alpha=alpha), "jpg")


@pytest.mark.parametrize("pixels", [np.zeros((1, 16384, 1), np.uint8), np.zeros((65536, 1, 3), np.uint8)])
def test_a_side_that_a_format_cannot_hold_is_refused(pixels: NDArray[Any]) -> None:
    format = "webp" if pixels.shape[2] == 1 else "jpg"
    with pytest.raises(ImageError, match=rf"^{format}: holds \d+ pixels a side at most, and the result has"):
        encode_picture(Picture(pixels=pixels), format)
    assert read_picture(encode_picture(Picture(pixels=pixels), "png")).pixels.shape == pixels.shape


def test_a_format_that_is_not_written_is_named() -> None:
    with pytest.raises(ImageError, match=r"^gif: is no format that is written, expected one of png, jpg"):
        encode_picture(Picture(pixels=random(2, 2, 3)), "gif")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = Picture(pixels=random(20, 30, 3))
    for suffix in FORMATS:
        write_picture(tmp_path / f"a.{suffix}", picture)
        assert read_picture(tmp_path / f"a.{suffix}").pixels.shape == (20, 30, 3)
    with pytest.raises(ImageError, match="holds 8 bits"):
        write_picture(tmp_path / "b.webp", Picture(pixels=random(2, 2, 3, dtype=np.uint16)))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a.{suffix}" for suffix in FORMATS)


COLOURS = random(40, 56, 3, dtype=np.uint16)
TIFFS: dict[str, tuple[dict[str, Any], NDArray[Any]]] = {
    "grey": ({"photometric": "minisblack"}, COLOURS[:, :, :1]),
    "grey, big-endian": ({"photometric": "minisblack", "byteorder": ">"}, COLOURS[:, :, :1]),
    "grey, white is 0": ({"photometric": "miniswhite"}, COLOURS[:, :, :1]),
    "RGB": ({"photometric": "rgb"}, COLOURS),
    "RGB, big-endian": ({"photometric": "rgb", "byteorder": ">"}, COLOURS),
    "RGB, deflate": ({"photometric": "rgb", "compression": "deflate", "predictor": True}, COLOURS),
    "RGB, LZW": ({"photometric": "rgb", "compression": "lzw"}, COLOURS),
    "RGB, tiles": ({"photometric": "rgb", "tile": (32, 32), "compression": "deflate"}, COLOURS),
    "RGB, BigTIFF": ({"photometric": "rgb", "bigtiff": True}, COLOURS),
    "RGB, planes": ({"photometric": "rgb", "planarconfig": "separate"}, COLOURS),
    "RGB and alpha": ({"photometric": "rgb", "extrasamples": ["unassalpha"]}, random(40, 56, 4, dtype=np.uint16)),
    "RGB times alpha": ({"photometric": "rgb", "extrasamples": ["assocalpha"]}, random(40, 56, 4, dtype=np.uint16)),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_every_layout_of_a_16_bit_tiff_is_read_at_full_depth(kind: str) -> None:
    options, both = TIFFS[kind]
    stored = both[:, :, 0] if both.shape[2] == 1 else both.transpose(2, 0, 1) if kind == "RGB, planes" else both
    if kind == "RGB times alpha":
        stored = both.copy()
        stored[:, :, :3] = np.round(both[:, :, :3] * (both[:, :, 3:] / 65535))
    picture = read_picture(tiff(np.ascontiguousarray(stored), **options))
    expected = 65535 - both if kind == "grey, white is 0" else both
    assert picture.pixels.dtype == np.uint16
    if kind == "RGB times alpha":
        clear = both[:, :, 3] > 60000
        difference = np.abs(picture.pixels[clear].astype(int) - both[:, :, :3][clear])
        assert difference.max() <= 1
    else:
        np.testing.assert_array_equal(picture.pixels, expected[:, :, : 1 if both.shape[2] == 1 else 3])
    assert (picture.alpha is None) == (both.shape[2] != 4)
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, both[:, :, 3])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_16_bit_png_is_read_at_full_depth(channels: int) -> None:
    both = random(20, 31, channels, dtype=np.uint16)
    picture = read_picture(imagecodecs.png_encode(both if channels > 1 else np.ascontiguousarray(both[:, :, 0])))
    num = channels - (channels in {2, 4})
    np.testing.assert_array_equal(picture.pixels, both[:, :, :num])
    assert (picture.alpha is None) == (num == channels)
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, both[:, :, -1])


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_16_bit_png_says_behind_its_pixels_is_read(channels: int) -> None:
    eight = saved(Image.fromarray(random(4, 4, 3)), "PNG", exif=exif(6))
    at = eight.index(b"eXIf") - 4
    said = eight[at : at + 12 + int.from_bytes(eight[at : at + 4], "big")]
    pixels = random(6, 9, channels, dtype=np.uint16)
    data = imagecodecs.png_encode(pixels if channels == 3 else np.ascontiguousarray(pixels[:, :, 0]))
    picture = read_picture(data[:-12] + said + data[-12:])
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels, -1))
    assert b"Camera" in (picture.exif or b"")


def test_the_profile_of_a_16_bit_tiff_is_kept() -> None:
    assert read_picture(tiff(random(6, 9, 3, dtype=np.uint16), photometric="rgb", iccprofile=SRGB)).icc == SRGB


GROWTH = """
import resource, sys
import numpy as np
from pathlib import Path
from sr_core.data.pictures import Picture, read_picture, write_picture
pixels = np.random.default_rng(0).integers(0, 256, (100, 4000, 3), dtype=sys.argv[2]).repeat(60, 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_picture(Path(sys.argv[1]), Picture(pixels=pixels))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / pixels.nbytes)
"""


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "uint8"), ("a.tiff", "uint8"), ("b.png", "uint16")])
def test_a_large_picture_is_written_with_hardly_more_memory_than_its_own(tmp_path: Path, name: str, dtype: str) -> None:
    command = [sys.executable, "-c", GROWTH, str(tmp_path / name), dtype]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(child.stdout) < 0.25  # of the picture's 72 MB


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
@pytest.mark.parametrize("occurs", [True, False])
def test_a_transparent_colour_becomes_alpha(mode: str, occurs: bool) -> None:
    pixels = random(6, 9, 3)
    pixels[pixels == 77] = 78
    image = Image.fromarray(pixels).convert(mode) if mode != "P" else Image.fromarray(pixels).quantize(16)
    clear = {"L": image.convert("L").getpixel((2, 1)), "RGB": tuple(pixels[1, 2]), "P": image.getpixel((2, 1))}[mode]
    absent = {"L": 300, "RGB": (77, 77, 77), "P": 200}[mode]
    picture = read_picture(saved(image, "PNG", transparency=clear if occurs else absent))
    expected = np.asarray(image if mode != "P" else image.convert("RGB")).reshape(6, 9, -1)
    np.testing.assert_array_equal(picture.pixels, expected)
    if occurs:
        hidden = (np.asarray(image).reshape(6, 9, -1) == np.array(clear)).all(axis=2)
        np.testing.assert_array_equal(picture.alpha, np.where(hidden, 0, 255))
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_orientation_is_applied_and_taken_out(format: str, orientation: int, depth: int) -> None:
    if depth == 16 and format in {"JPEG", "WEBP"}:
        pytest.skip("holds 8 bits")
    upright = np.zeros((24, 48, 3), np.uint8 if depth == 8 else np.uint16)
    upright[:8, :16], upright[:8, 32:] = np.iinfo(upright.dtype).max, np.iinfo(upright.dtype).max // 2
    undo = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x, 1), 7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }  # fmt: skip
    stored = np.ascontiguousarray(undo[orientation](upright))
    tags = exif(orientation)
    if depth == 8:
        options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "JPEG" else {}
        data = saved(Image.fromarray(stored), format, exif=tags.tobytes(), **options)
    elif format == "TIFF":
        data = tiff(stored, photometric="rgb", extratags=[(274, 3, 1, orientation, True), (271, 2, 0, "Camera", True)])
    else:
        data = imagecodecs.png_encode(stored)
        chunk = saved(Image.fromarray(upright.astype(np.uint8)), "PNG", exif=tags)
        at = chunk.index(b"eXIf") - 4
        data = data[:33] + chunk[at : at + 12 + int.from_bytes(chunk[at : at + 4], "big")] + data[33:]
    picture = read_picture(data)
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).max() <= (3 if format == "JPEG" else 0)
    assert picture.exif is not None
    said = Image.Exif()
    said.load(metadata.PREFIX + picture.exif)
    assert 274 not in said
    assert said[271] == "Camera"


def test_the_rest_of_exif_is_kept_byte_by_byte() -> None:
    tags = exif(6)
    data = tags.tobytes().removeprefix(metadata.PREFIX)
    note = data.index(b"maker's note")
    picture = read_picture(saved(Image.fromarray(random(6, 9, 3)), "JPEG", exif=tags))
    assert picture.exif is not None
    assert len(picture.exif) == len(data)
    assert picture.exif.index(b"maker's note") == note


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_loses_one_entry_and_its_small_picture(order: str) -> None:
    signature = b"II*\0" if order == "<" else b"MM\0*"
    entries = [struct.pack(order + "HHIH2x", tag, 3, 1, value) for tag, value in ((256, 5), (274, 6), (296, 2))]
    behind = struct.pack(order + "I", 54) + b"what others point to" + bytes(20)
    data = signature + struct.pack(order + "IH", 8, 3) + b"".join(entries) + behind
    picture = read_picture(saved(Image.fromarray(random(6, 9, 3)), "PNG", exif=data))
    kept = signature + struct.pack(order + "IH", 8, 2) + entries[0] + entries[2] + bytes(16) + behind[4:]
    assert picture.exif == kept


@pytest.mark.parametrize("garbage", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff", b"x" * 99])
def test_exif_that_is_none_is_left_out(garbage: bytes) -> None:
    pixels = random(6, 9, 3)
    for format in ("PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        picture = read_picture(saved(Image.fromarray(pixels), format, exif=garbage, **options))
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert picture.exif is None


@pytest.mark.parametrize("profile", [b"garbage", b"x" * 500, SRGB[:-1], SRGB[:16] + b"CMYK" + SRGB[20:]])
def test_a_profile_that_is_none_is_left_out(profile: bytes) -> None:
    pixels = random(6, 9, 3)
    picture = read_picture(saved(Image.fromarray(pixels), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.icc is None

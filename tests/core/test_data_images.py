from pathlib import Path

import numpy as np
import pytest
from photos import noise, save, sixteen_bit_rgb
from PIL import Image, ImageCms

from sr_core.data.images import read_rgb, read_size, write_png
from sr_core.errors import ImageError

GREY = Image.fromarray(noise(6, 9)[:, :, 0])
RGB = Image.fromarray(noise(6, 9))


def with_alpha(mode: str, alpha: int) -> Image.Image:
    image = RGB.convert("RGB" if mode == "RGBA" else "L")
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_rgb_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", RGB, **options)

    np.testing.assert_array_equal(read_rgb(path), np.asarray(RGB))
    assert read_size(path) == (6, 9)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_png(tmp_path / "new" / "a.png", noise(5, 4))

    np.testing.assert_array_equal(read_rgb(tmp_path / "new" / "a.png"), noise(5, 4))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    expected = np.repeat(np.asarray(GREY)[:, :, None], 3, axis=2)

    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", GREY)), expected)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = RGB.quantize(16)

    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped(tmp_path: Path, mode: str) -> None:
    image = with_alpha(mode, 255)

    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("read", [read_rgb, read_size])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_refused(tmp_path: Path, mode: str, read: object) -> None:
    image = with_alpha(mode, 255)
    image.putpixel((3, 2), (*image.getpixel((3, 2))[:-1], 254))

    with pytest.raises(ImageError, match=r"a\.png: mode .* transparent pixels; flatten"):
        read(save(tmp_path / "a.png", image))


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_that_occurs_is_refused(tmp_path: Path, mode: str) -> None:
    image = RGB.quantize(16) if mode == "P" else RGB.convert(mode)
    path = save(tmp_path / "a.png", image, transparency=image.getpixel((0, 0)))

    with pytest.raises(ImageError, match="transparent"):
        read_rgb(path)


def lab(path: Path) -> Path:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return save(path, ImageCms.applyTransform(RGB, to_lab))


@pytest.mark.parametrize("read", [read_rgb, read_size])
@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.png", lambda path: save(path, Image.fromarray(np.full((6, 9), 4000, np.uint16))), "more than 8 bits"),
        ("a.tif", lambda path: save(path, Image.fromarray(np.full((6, 9), 4000, np.int32))), "more than 8 bits"),
        ("a.tif", lambda path: save(path, Image.fromarray(np.full((6, 9), 0.5, np.float32))), "floating point"),
        ("a.png", sixteen_bit_rgb, "16 bits per channel"),
        ("a.jpg", lambda path: save(path, RGB.convert("CMYK")), "printing inks"),
        ("a.png", lambda path: save(path, RGB.convert("1")), "two levels"),
        ("a.tif", lab, "L.a.b. colours"),
    ],
)
def test_other_modes_are_refused_with_the_reason(
    tmp_path: Path, name: str, make: object, reason: str, read: object
) -> None:
    path = make(tmp_path / name)

    with pytest.raises(ImageError, match=rf"{name}: .*{reason}.*; convert it to 8-bit RGB"):
        read(path)


@pytest.mark.parametrize("read", [read_rgb, read_size])
def test_luma_and_chroma_outside_of_jpeg_are_refused(tmp_path: Path, read: object) -> None:
    with pytest.raises(ImageError, match=r"a\.tif: "):
        read(save(tmp_path / "a.tif", RGB.convert("YCbCr")))


@pytest.mark.parametrize("read", [read_rgb, read_size])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("left", [0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, left: float, read: object) -> None:
    path = save(tmp_path / name, Image.fromarray(noise(60, 90)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    with pytest.raises(ImageError, match=rf"{name}: (cannot be decoded|is no PNG)"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"this is text"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(ImageError, match="is no PNG, JPEG, TIFF, BMP or WebP image"):
        read_rgb(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png: there is no such file"):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # a bright corner, which the camera saw elsewhere
    undo = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    path = save(tmp_path / f"a.{suffix}", stored, exif=exif, quality=95)

    image = read_rgb(path)
    assert read_size(path) == image.shape[:2] == (16, 32)
    assert image[:6, :6].min() > 200
    assert image[10:, :].max() < 50
    assert image[:, 10:].max() < 50
